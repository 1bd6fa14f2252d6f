// The names of states as they are recorded: `settling.asking`, `precopying(limits.told, watchdog.watching)`. A name
// lists the states of a machine without the groups around them: regrouping does not change it, so the records of an
// older version stay readable.

/** Returns the top-level state without its inner states. */
export const topState = (state: string): string => /^\w+/.exec(state)?.[0] ?? state;

/** Returns every state in a recorded name, the outermost first: `a(b.c, d)` is a, a.b, a.b.c and a.d. */
export function statesIn(state: string): ReadonlySet<string> {
  const found = new Set<string>();
  let at = 0;
  const level = (prefix: string): void => {
    let path = prefix;
    for (;;) {
      const [name = ""] = /^[\w-]+/.exec(state.slice(at)) ?? [];
      at += name.length;
      if (name !== "") {
        path = path === "" ? name : `${path}.${name}`;
        found.add(path);
      }
      const mark = state[at];
      if (mark === ".") at += 1;
      else if (mark === "(") {
        at += 1;
        level(path);
      } else if (mark === ",") {
        at += 2;
        path = prefix;
      } else {
        if (mark === ")") at += 1;
        return;
      }
    }
  };
  level("");
  return found;
}
