// The destination's side of one migration: from Prepare to arrived, refused, lost or stuck. No I/O: effects are
// bound in effects/bind.ts. Upholds G1 and G3: it runs the guest only after its decision to take it is durable,
// and once it has refused it never runs it.
//
// Theory of operation. QEMU receives the guest in `incoming`, or in `postcopy` once the source has announced post-copy.
// Finish, a source whose QEMU is dead, or, in post-copy, a source that hands over, leads to `takeover`: the guest is
// claimed at the fence if there is one, the decision becomes durable, `cont` follows, and from then on every question
// is answered `taken` (arrived). Everything else that happens earlier leads to `refusal`: that decision becomes
// durable, the copy is ended, and every question is answered `refused`. No path leads from a refusal to a guest that
// runs.
//
//   incoming -> takeover -> arrived
//   incoming -> postcopy -> takeover
//   incoming, postcopy, takeover (nothing has run) -> refusal -> refused
//
// Each state is recorded before its effect begins; a restarted engine continues from `rehydrating` in the state that was
// recorded, or in the one that its `meta` names. `lost`, `stuck` and `killFailed` are final states for a QEMU that
// died, or no longer responds.

import { finalState, ignoring, initialCommonContext, rejecting } from "../shared/actions.js";
import { rehydrating } from "../shared/rehydrate.js";
import { incoming } from "./incoming.js";
import { postcopy } from "./postcopy.js";
import { refusal } from "./refusal.js";
import { createMachine, createStateConfig, ending, follows } from "./setup.js";
import { takeover } from "./takeover.js";

export type {
  DestinationEvent,
  DestinationInput,
  DestinationMemory,
  PrepareInput,
} from "./setup.js";

const indifferent = ignoring("the state does not depend on it");

const arrived = createStateConfig({
  type: "final",
  description: "the guest runs on this host",
  meta: { guest: "runs" },
  tags: ["decided", "taken"],
});
const refused = createStateConfig({
  type: "final",
  description: "nothing is left on this host",
  meta: { guest: "gone" },
  tags: ["refused"],
  entry: { type: "undo", params: { what: "the destination's copy of the guest is gone" } },
});
const lost = createStateConfig({
  type: "final",
  description: "this QEMU died after the guest may have run here",
  meta: { guest: "lost" },
  tags: ["taken"],
});
const stuck = createStateConfig({
  type: "final",
  description: "QEMU does not report whether the guest runs here; operator intervention required",
  meta: { guest: "stuck" },
  tags: ["needsOperator"],
});
const killFailed = createStateConfig({
  type: "final",
  description: "refused for good, but QEMU could not be ended; operator intervention required",
  meta: { guest: "held" },
  tags: ["refused", "needsOperator"],
});

const states = { incoming, postcopy, takeover, refusal, arrived, refused, lost, stuck, killFailed };

export const destinationMachine = createMachine({
  id: "destination",
  context: ({ input: { woken, ...input } }) => ({
    ...initialCommonContext(woken ?? null),
    prepared: null,
    memory: "precopied",
    postcopy: "unannounced",
    reconnection: null,
    deferred: [],
    ...input,
    ...woken?.memory,
  }),
  output: ({ context, event }) => ({
    outcome: finalState(event.type, {
      arrived: "arrived",
      refused: "refused",
      lost: "lost",
      stuck: "stuck",
      killFailed: "stuck",
    }),
    failures: context.failures,
    undone: context.undone,
  }),
  invoke: { src: "watch", id: "watch" },
  initial: "rehydrating",
  // Handlers of events that a state does not handle itself. process.exited is missing on purpose: each group defines
  // its meaning there.
  on: {
    "coordinator.finishRequested": rejecting("this copy has been refused and will never run"),
    "coordinator.finishCancelledRequested": ending,
    "source.settleRequested": follows,
    "source.conceded": follows,
    "source.announced": follows,
    "source.handedOver": follows,
    "source.reconnectRequested": ignoring("the answer follows from the state"),
    "operator.destroyed": ignoring("its QEMU is ended, which ends the guest"),
    "monitor.active": indifferent,
    "monitor.postcopy": indifferent,
    "monitor.postcopyPaused": indifferent,
    "monitor.completed": { actions: "keepWhole" },
    "monitor.failed": ending,
    "monitor.resumed": indifferent,
    "monitor.stopped": indifferent,
  },
  states: {
    ...states,
    rehydrating: {
      description: "begins, or continues in the state of the restarted engine",
      meta: { guest: "unsure" },
      always: rehydrating("destination", states, "preparing"),
    },
  },
});
