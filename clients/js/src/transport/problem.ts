/** Answers that refuse: RFC 9457 problem documents, where they are. */

import type { End } from "./transport.js";

const FOR_GOOD = [400, 401, 403, 404, 426];

/** What an HTTP answer says about why there is no line. */
export function problemOf(status: number, body: string): End {
  const end: End = { code: 1006, reason: `HTTP ${status}`, status, reconnect: FOR_GOOD.includes(status) ? "never" : "later", known: status === 401 || status === 403 };
  try {
    const { code, detail, title } = JSON.parse(body) as Record<string, string | undefined>;
    return { ...end, reason: detail ?? title ?? end.reason, problem: code };
  } catch {
    return end;
  }
}
