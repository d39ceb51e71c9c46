/** The ways beside the WebSocket against the real server. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { Cut } from "./cut.mjs";
import { Server, dataOf, endLater, hubAt, newTopic, state, story, take } from "./world.mjs";

let server;
let directory;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "topichub-js-"));
  writeFileSync(join(directory, "hub.toml"), '[[topics]]\npattern = "short.>"\nhistory.messages = 3\n\n[[topics]]\npattern = ">"\nhistory.messages = 10000\n');
  server = await Server.start(["--config", join(directory, "hub.toml")]);
});

after(async () => {
  await server?.stop();
  rmSync(directory, { recursive: true });
});

for (const way of ["events", "poll"]) {
  const options = { transports: [way], backoff: { base: 20, max: 100 } };

  story(`${way}: what is published arrives, also of a pattern and as bytes`, async () => {
    const hub = hubAt(server.host, options);
    const parent = newTopic();
    const topic = `${parent}.x`;
    const [plain, pattern] = [hub.subscribe(topic), hub.subscribe(`${parent}.*`)];
    await Promise.all([plain.ready, pattern.ready]);
    assert.equal(hub.transport, way);
    const { epoch, offset } = await hub.publish(topic, { text: "grüße\n🎉" });
    assert.equal(offset, 1);
    await hub.publish(topic, new Uint8Array([0, 255]));
    for (const subscription of [plain, pattern]) {
      const [first, second] = await take(subscription, 2);
      assert.deepEqual([first.data, first.epoch, first.replayed], [{ text: "grüße\n🎉" }, epoch, false]);
      assert.deepEqual([...second.data], [0, 255]);
    }
    assert.deepEqual((await hub.history(topic, { after: { epoch, offset: 1 } })).messages.length, 1);
    assert.equal((await hub.presence(topic)).topic, topic);
    await assert.rejects(hub.publish("a.>", 1), { code: "invalid_topic" });
  });

  story(`${way}: cuts lose nothing and repeat nothing`, async () => {
    const cut = await Cut.before(server.host);
    endLater(() => cut.stop());
    const [reader, writer] = [hubAt(cut.host, options), hubAt(server.host)];
    const parent = newTopic();
    const topic = `${parent}.x`;
    const subscriptions = [reader.subscribe(topic), reader.subscribe(`${parent}.>`)];
    await Promise.all([...subscriptions.map(({ ready }) => ready), state(writer, "open")]);
    for (let round = 0; round < 10; round++) {
      for (let number = 0; number < 10; number++) await writer.publish(topic, round * 10 + number);
      cut.now();
    }
    for (const subscription of subscriptions) {
      const events = subscription.events();
      const got = [];
      while (got.length < 100) {
        const { value } = await events.next();
        assert.notEqual(value.op, "gap");
        if (value.op === "message") got.push(value.data);
      }
      assert.deepEqual(got, Array.from({ length: 100 }, (_, i) => i));
    }
  });

  story(`${way}: what history could not keep is announced`, async () => {
    const cut = await Cut.before(server.host);
    endLater(() => cut.stop());
    const [reader, writer] = [hubAt(cut.host, options), hubAt(server.host)];
    const topic = `short.${newTopic()}`;
    const events = reader.subscribe(topic).events();
    assert.equal((await events.next()).value.op, "subscribed");
    await state(writer, "open");
    await writer.publish(topic, 1);
    assert.equal((await events.next()).value.data, 1);
    cut.up = false;
    cut.now();
    for (const data of [2, 3, 4, 5, 6, 7]) await writer.publish(topic, data);
    cut.up = true;
    const told = (await take(events, 5)).filter(({ op }) => op !== "subscribed").slice(0, 4);
    assert.deepEqual(told.map(({ from, to, data }) => data ?? [from, to]), [[2, 4], 5, 6, 7]);
  });

  story(`${way}: what is forbidden does not take the rest along`, async () => {
    const hub = hubAt(server.host, options);
    const topic = newTopic();
    const [good, bad, more] = [hub.subscribe(topic), hub.subscribe("$sys.stats"), hub.subscribe(`${topic}.more`)];
    await assert.rejects(bad.ready, { code: "forbidden" });
    await Promise.all([good.ready, more.ready]);
    await hub.publish(topic, 1);
    assert.deepEqual(dataOf(await take(good, 1)), [1]);
    assert.equal(hub.state, "open");
  });
}
