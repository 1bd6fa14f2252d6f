// The source's side of one migration: from Begin to left, stayed, lost or stuck. No I/O: effects are bound in
// effects/bind.ts. Upholds G1 and G3: from handedOver on, only a refusal by the destination resumes the guest.
//
// Theory of operation. The guest is the source's own while it is `preparing` (Begin, the disk mirrors) and
// `transferring` (QEMU's pre-copy and the switchover). QEMU's `completed` is the point of no return, `handover`: this
// copy stays paused until the destination, asked by migration id, has answered who runs the guest. `taken` ends this
// copy (left); `refused` leads to `rollback`. In `postcopy` the point of no return comes before the end of the stream:
// the destination runs the guest, and its missing memory is served from here. `rollback` cancels QEMU's migration,
// which may still end it as completed, and resumes the guest as before (stayed).
//
//   preparing -> transferring -> handover -> left
//                transferring -> postcopy -> handover
//   preparing, transferring, handover, postcopy -> rollback -> stayed
//
// Each state is recorded before its effect begins; a restarted engine continues from `rehydrating` in the state that was
// recorded, or in the one that its `meta` names. `lost` and `stuck` are final states for a QEMU that died, or no longer
// responds.

import { emptyHistory } from "../../protocol/convergence/forecast.js";
import { noPolicy } from "../../protocol/convergence/policy.js";
import { finalState, ignoring, initialCommonContext, rejecting } from "../shared/actions.js";
import { rehydrating } from "../shared/rehydrate.js";
import { handover } from "./handover.js";
import { postcopy } from "./postcopy.js";
import { preparing } from "./preparing.js";
import { rollback } from "./rollback.js";
import { createMachine, createStateConfig, ending, indifferent, knownAlready } from "./setup.js";
import { transferring } from "./transfer.js";

export type {
  CancelInput,
  Described,
  MirrorInput,
  ProbeInput,
  RestoreInput,
  SourceEvent,
  SourceInput,
  SourceMemory,
  StartInput,
} from "./setup.js";

const decidesItself = rejecting("the migration is in progress and decides itself who runs the guest");

const left = createStateConfig({
  type: "final",
  description: "the guest has left: this copy is gone",
  meta: { guest: "gone" },
  tags: ["performed"],
});
const stayed = createStateConfig({
  type: "final",
  description: "the guest remains on this host",
  meta: { guest: "runs" },
});
const lost = createStateConfig({
  type: "final",
  description: "this QEMU died and the destination did not have the guest",
  meta: { guest: "lost" },
});
const stuck = createStateConfig({
  type: "final",
  description: "QEMU no longer responds; operator intervention required",
  meta: { guest: "stuck" },
  tags: ["needsOperator"],
});

const states = { preparing, transferring, postcopy, handover, rollback, left, stayed, lost, stuck };

export const sourceMachine = createMachine({
  id: "source",
  context: ({ input: { woken, convergence = noPolicy, ...input } }) => ({
    ...initialCommonContext(woken ?? null),
    guest: null,
    settings: null,
    earlier: null,
    prepared: null,
    postcopy: "unannounced",
    limitsTold: null,
    progress: null,
    reconnection: null,
    measures: [],
    history: emptyHistory,
    throttlePercent: 0,
    forecastTold: null,
    ...input,
    convergence,
    ...woken?.memory,
  }),
  output: ({ context, event }) => ({
    outcome: finalState(event.type, { left: "left", stayed: "stayed", lost: "lost", stuck: "stuck" }),
    failures: context.failures,
    undone: context.undone,
  }),
  invoke: { src: "watch", id: "watch" },
  initial: "rehydrating",
  // Handlers of events that a state does not handle itself. process.exited is missing on purpose: each group defines
  // its meaning there.
  on: {
    "coordinator.performRequested": ignoring("repeated; the answer follows from the state"),
    "coordinator.confirmRequested": rejecting("the guest has not been handed over"),
    "coordinator.confirmCancelledRequested": ending,
    "operator.aborted": ending,
    "operator.tuned": rejecting("no memory is being transferred"),
    "operator.suspended": ignoring("the guest resumes on the side where the migration ends"),
    "operator.postcopyRequested": rejecting("no memory is being transferred"),
    "operator.adopted": decidesItself,
    "operator.released": decidesItself,
    "monitor.stopped": indifferent,
    "monitor.suspended": indifferent,
    "monitor.diskFailed": indifferent,
    "monitor.mirrored": indifferent,
    "monitor.mirrorFailed": indifferent,
    "monitor.resumed": indifferent,
    "monitor.progressed": { actions: "takeProgress" },
    "monitor.preSwitchover": ignoring("the migration is being ended"),
    "monitor.postcopy": indifferent,
    "monitor.postcopyPaused": indifferent,
    "monitor.completed": knownAlready,
    "monitor.cancelled": knownAlready,
    "monitor.failed": knownAlready,
    "policy.postcopyDue": rejecting("no memory is being transferred"),
  },
  states: {
    ...states,
    rehydrating: {
      description: "begins, or continues in the state of the restarted engine",
      meta: { guest: "unsure" },
      always: rehydrating("source", states, "beginning"),
    },
  },
});
