// A drawing of a machine: states as boxes, transitions as lines. scripts/layout-machines.ts computes the layout from the machine
// itself when the page is built.

export interface ChartState {
  /** The name as it is recorded, such as `precopying.limits.applied`; for a group its own key. */
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
  /** The events that trigger this transition. */
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

/** Returns a readable form of XState's event name. */
export const eventName = (event: string): string =>
  event
    .replace(/^xstate\.done\.actor\.(\w+).*/, "$1 answers")
    .replace(/^xstate\.after\.(\w+)\..*/, "after $1")
    .replace(/^xstate\.done\.state\..*/, "its child states ended");
