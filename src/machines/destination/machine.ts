// The destination's side of one migration: from Prepare to arrived, refused, lost or stuck. No I/O: effects are
// bound in effects/bind.ts. Upholds G1 and G3: it runs the guest only after its decision to take it is durable,
// and once it has refused it never runs it.

import { finalState, freshHabits, keeping, refusing as refuses } from "../shared/actions.js";
import { completing, listening, preparing, received, receiving, recovering, waking } from "./incoming.js";
import { entrusted, fetching, landing, orphaned, receivingPostcopy, runnable } from "./postcopy.js";
import { createMachine } from "./setup.js";
import { claiming, disclaiming, endingUnrecorded, killing, refusing, resuming, taking } from "./takeover.js";

export type {
  DestinationEvent,
  DestinationInput,
  DestinationMemory,
  PrepareInput,
} from "./setup.js";

const follows = keeping("the answer follows from the state");
const indifferent = keeping("the state does not depend on it");
const ending = keeping("this copy is being ended already");

export const destinationMachine = createMachine({
  id: "destination",
  context: ({ input: { woken, ...input } }) => ({
    ...freshHabits(woken ?? null),
    prepared: null,
    memory: "precopied",
    postcopy: "unannounced",
    reconnection: null,
    unanswered: [],
    ...input,
    ...woken?.memory,
  }),
  output: ({ context, event }) => ({
    outcome: finalState(event.type, {
      arrived: "arrived",
      refused: "refused",
      lost: "lost",
      stuck: "stuck",
      leftBehind: "stuck",
    }),
    failures: context.failures,
    undone: context.undone,
  }),
  invoke: { src: "watch", id: "watch" },
  initial: "waking",
  // What a state does not name itself. process.exited is missing on purpose: each state says what it means there.
  on: {
    "coordinator.finishAsked": refuses("this copy has been refused and will never run"),
    "coordinator.finishCancelledAsked": ending,
    "source.asked": follows,
    "source.yielded": follows,
    "source.announced": follows,
    "source.handedOver": follows,
    "source.reconnectAsked": keeping("the answer follows from the state"),
    "monitor.active": indifferent,
    "monitor.postcopy": indifferent,
    "monitor.postcopyPaused": indifferent,
    "monitor.completed": { actions: "keepWhole" },
    "monitor.failed": ending,
    "monitor.resumed": indifferent,
    "monitor.stopped": indifferent,
  },
  states: {
    waking,
    recovering,
    preparing,
    listening,
    receiving,
    completing,
    receivingPostcopy,
    runnable,
    entrusted,
    received,
    claiming,
    disclaiming,
    taking,
    resuming,
    landing,
    fetching,
    orphaned,
    refusing,
    endingUnrecorded,
    killing,
    arrived: { type: "final", description: "the guest runs here", tags: ["prepared", "taken"] },
    refused: {
      type: "final",
      description: "nothing is left here",
      tags: ["refused"],
      entry: { type: "undo", params: { what: "the destination's copy of the guest is gone" } },
    },
    lost: { type: "final", description: "this QEMU died when the guest may have run here", tags: ["taken"] },
    stuck: {
      type: "final",
      description: "QEMU does not say whether the guest runs here; a person has to look",
    },
    leftBehind: {
      type: "final",
      description: "refused for good, but QEMU could not be ended; a person has to look",
      tags: ["refused"],
    },
  },
});
