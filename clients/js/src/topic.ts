/** Names of topics and patterns. */

/** Whether a name is a pattern: one of its tokens is `*` or `>`. */
export const isPattern = (name: string): boolean => /(^|\.)[*>](\.|$)/.test(name);

/** Whether a topic matches a topic or pattern: `*` is one token, `>` at the end is one or more. */
export function matches(pattern: string, topic: string): boolean {
  if (pattern === topic) return true;
  const wanted = pattern.split(".");
  const tokens = topic.split(".");
  if (tokens[0] === "$sys" && /^[*>]/.test(pattern)) return false; // the server's own are to be named
  return wanted.every((want, i) => want === tokens[i] || (i in tokens && (want === "*" || want === ">"))) && (wanted.at(-1) === ">" || wanted.length === tokens.length);
}
