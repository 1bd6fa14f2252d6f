// The source's side of one migration: from Begin to left, stayed, lost or stuck. No I/O: effects are bound in
// effects/bind.ts. Upholds G1 and G3: from handedOver on, only a refusal by the destination resumes the guest.

import { noPolicy } from "../protocol/convergence-policy.js";
import { noCourse } from "../protocol/forecast.js";
import { finalState, freshHabits, keeping, refusing } from "./habits.js";
import { handedOver, killing, settling, yielding } from "./source-letting-go.js";
import {
  beginning,
  begun,
  doubting,
  endingMirrors,
  mirroring,
  pausing,
  precopying,
  recovering,
  starting,
  switchingOver,
  waking,
} from "./source-moving.js";
import {
  abandoning,
  askingBack,
  handingOver,
  reconnecting,
  reviving,
  serving,
  stranded,
} from "./source-postcopy.js";
import { createMachine, knownAlready } from "./source-setup.js";
import {
  cancelling,
  losing,
  rescuing,
  restoring,
  takingBack,
  tellingStuck,
  unmirroring,
} from "./source-staying.js";

export type {
  CancelInput,
  Described,
  InquireInput,
  MirrorInput,
  RestoreInput,
  SourceEvent,
  SourceInput,
  SourceMemory,
  StartInput,
} from "./source-setup.js";

const ending = keeping("the guest is on its way back already");
const indifferent = keeping("the state does not depend on it");

export const sourceMachine = createMachine({
  id: "source",
  context: ({ input: { woken, convergence = noPolicy, ...input } }) => ({
    ...freshHabits(woken ?? null),
    guest: null,
    settings: null,
    earlier: null,
    prepared: null,
    postcopy: "unannounced",
    limitsTold: null,
    progress: null,
    reconnection: null,
    measures: [],
    course: noCourse,
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
  initial: "waking",
  // What a state does not name itself. process.exited is missing on purpose: each state says what it means there.
  on: {
    "coordinator.performAsked": keeping("asked again; the answer follows from the state"),
    "coordinator.confirmAsked": refusing("the guest has not been handed over"),
    "coordinator.confirmCancelledAsked": ending,
    "person.aborted": ending,
    "person.tuned": refusing("no memory is being sent"),
    "person.postcopyAsked": refusing("no memory is being sent"),
    "monitor.stopped": indifferent,
    "monitor.suspended": indifferent,
    "monitor.diskFailed": indifferent,
    "monitor.mirrored": indifferent,
    "monitor.mirrorFailed": indifferent,
    "monitor.resumed": indifferent,
    "monitor.progressed": { actions: "takeProgress" },
    "monitor.preSwitchover": keeping("the migration is being ended"),
    "monitor.postcopy": indifferent,
    "monitor.postcopyPaused": indifferent,
    "monitor.completed": knownAlready,
    "monitor.cancelled": knownAlready,
    "monitor.failed": knownAlready,
    "policy.postcopyDue": refusing("no memory is being sent"),
  },
  states: {
    waking,
    recovering,
    beginning,
    doubting,
    begun,
    mirroring,
    starting,
    precopying,
    pausing,
    endingMirrors,
    switchingOver,
    handingOver,
    serving,
    reconnecting,
    stranded,
    reviving,
    askingBack,
    abandoning,
    handedOver,
    settling,
    yielding,
    killing,
    cancelling,
    rescuing,
    restoring,
    unmirroring,
    takingBack,
    losing,
    tellingStuck,
    left: { type: "final", description: "the guest left: this copy is gone", tags: ["performed"] },
    stayed: { type: "final", description: "the guest is here as before" },
    lost: { type: "final", description: "this QEMU died and the destination did not have the guest" },
    stuck: { type: "final", description: "QEMU obeys no more; a person has to look" },
  },
});
