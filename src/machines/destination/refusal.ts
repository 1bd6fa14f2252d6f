// The destination's states once it has decided not to run the guest. Upholds G1 and G3: a refusal is durable before
// it is reported, and no path leads back to a guest that runs here.

import { ignoring, isDone, recordEffectFailure } from "../shared/actions.js";
import { createStateConfig, fencedGuest, recordLastStderr, retrying } from "./setup.js";

const refusing = createStateConfig({
  description: "the decision never to run this copy becomes durable",
  ...retrying(
    "recordRefusal",
    [
      { guard: isDone, target: "#destination.refusal.killing" },
      { guard: "outOfAttempts", target: "#destination.refusal.killingUnrecorded" },
    ],
    { as: "trying" },
  ),
});

const killing = createStateConfig({
  description: "this copy is ended; it will never run",
  tags: ["refused"],
  ...retrying(
    "killDestination",
    [
      { guard: isDone, target: "#destination.refused" },
      {
        guard: "outOfAttempts",
        target: "#destination.killFailed",
        actions: recordEffectFailure("killDestination"),
      },
    ],
    { as: "trying" },
  ),
});

const killingUnrecorded = createStateConfig({
  description:
    "the refusal cannot be made durable: it is reported once this copy is gone, which has the same effect",
  meta: { rehydratesAs: "refusing" },
  ...retrying(
    "killDestination",
    [
      { guard: isDone, target: "#destination.refused" },
      {
        guard: "outOfAttempts",
        target: "#destination.stuck",
        actions: recordEffectFailure("killDestination"),
      },
    ],
    { as: "trying" },
  ),
});

const disclaiming = createStateConfig({
  description: "the claim at the fence is released; the guest has not run here",
  on: {
    "source.settleRequested": ignoring("the answer follows when the claim has been released"),
    "process.exited": { actions: recordLastStderr },
  },
  ...retrying("disclaim", [{ guard: isDone, target: "#destination.refusal.refusing" }], {
    as: "trying",
    input: fencedGuest,
  }),
});

export const refusal = createStateConfig({
  description: "the decision never to run the guest here becomes durable, then this copy is ended",
  meta: { group: true, phase: "finish3", guest: "held" },
  initial: "refusing",
  on: { "process.exited": { target: "refused", actions: recordLastStderr } },
  states: { refusing, killing, killingUnrecorded, disclaiming },
});
