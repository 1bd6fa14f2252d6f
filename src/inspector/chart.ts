// A machine as a drawing: its states as boxes, its transitions as lines. Laid out by scripts/layout-machines.ts from the
// machine itself, when the page is built and when the docs are printed.

export interface ChartState {
  /** Its path: `precopying.limits.told`. */
  readonly id: string;
  readonly key: string;
  readonly kind: "atomic" | "compound" | "parallel" | "final" | "history";
  readonly says: string;
  /** libvirt's job phase. */
  readonly phase: string | null;
  readonly isPointOfNoReturn: boolean;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface ChartEdge {
  readonly from: string;
  readonly to: string;
  /** Each event that leads along it. */
  readonly events: readonly string[];
  readonly points: readonly (readonly [number, number])[];
}

export interface Chart {
  readonly machine: "source" | "destination" | "coordinator";
  readonly width: number;
  readonly height: number;
  readonly states: readonly ChartState[];
  readonly edges: readonly ChartEdge[];
}

/** XState's name of an event, as a person says it. */
export const eventName = (event: string): string =>
  event
    .replace(/^xstate\.done\.actor\.(\w+).*/, "$1 answers")
    .replace(/^xstate\.after\.(\w+)\..*/, "after $1")
    .replace(/^xstate\.done\.state\..*/, "its parts have ended");

/** The states that are lit when a machine is in `state`, as the recorder names it: `a(b.c, d)` is a, a.b, a.b.c and a.d. */
export function litStates(state: string): ReadonlySet<string> {
  const lit = new Set<string>();
  let at = 0;
  const level = (prefix: string): void => {
    let path = prefix;
    for (;;) {
      const [name = ""] = /^[\w-]+/.exec(state.slice(at)) ?? [];
      at += name.length;
      if (name !== "") {
        path = path === "" ? name : `${path}.${name}`;
        lit.add(path);
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
  return lit;
}
