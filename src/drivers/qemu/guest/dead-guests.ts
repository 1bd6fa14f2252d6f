// The two guests whose QEMU was not there any more when a restarted engine looked for it: its death is all they tell.

import type { DestinationGuest, SourceGuest } from "../../../effects/ports.js";
import { type Answer, type Cause, failed, nothing, unknown } from "../../../protocol/effect-result.js";

const tellsDeath =
  (cause: Cause) =>
  (listener: (fact: { type: "process.exited"; cause: Cause }) => void): (() => void) => {
    let told = true;
    // In a later turn, as a monitor would: the machine that watches is still being begun.
    queueMicrotask(() => told && listener({ type: "process.exited", cause }));
    return () => {
      told = false;
    };
  };

/** No answer: its death is heard instead. */
const silence = (signal: AbortSignal): Promise<Answer<never>> =>
  new Promise((resolve) =>
    signal.addEventListener("abort", () => resolve(unknown("QEMU is gone")), { once: true }),
  );

export function goneSource(cause: Cause): SourceGuest {
  const gone = async (): Promise<Answer<never>> => failed(cause.message, cause.qemu);
  return {
    watch: tellsDeath(cause),
    describe: silence,
    probe: (_, signal) => silence(signal),
    mirror: gone,
    completeMirrors: gone,
    cancelMirrors: gone,
    startPostcopy: gone,
    pausePostcopy: gone,
    resumePostcopy: gone,
    start: gone,
    setLimits: gone,
    throttle: gone,
    suspend: gone,
    continue: gone,
    cancel: gone,
    forceCancel: gone,
    restore: gone,
    kill: async () => nothing,
  };
}

export function goneDestination(cause: Cause): DestinationGuest {
  const gone = async (): Promise<Answer<never>> => failed(cause.message, cause.qemu);
  return {
    watch: tellsDeath(cause),
    prepare: gone,
    probe: silence,
    listenAgain: gone,
    resume: gone,
    kill: async () => nothing,
  };
}
