// A machine as a drawing: its states as boxes, its transitions as lines. Laid out by scripts/layout-machines.ts from the
// machine itself, when the page is built and when the docs are printed.

export interface ChartState {
  /** Its recorded name, `precopying.limits.told`; a group's own key. */
  readonly id: string;
  readonly key: string;
  readonly kind: "group" | "atomic" | "compound" | "parallel" | "final" | "history";
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
