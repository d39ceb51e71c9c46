/** Answers that refuse: RFC 9457 problem documents, where they are. */

import type { End } from "./transport.js";

/** What an HTTP answer says about why there is no line. */
export function problemOf(status: number, body: string): End {
  try {
    const { code, detail, title } = JSON.parse(body) as Record<string, string | undefined>;
    return { code: 1006, reason: detail ?? title ?? `HTTP ${status}`, status, problem: code };
  } catch {
    return { code: 1006, reason: `HTTP ${status}`, status };
  }
}
