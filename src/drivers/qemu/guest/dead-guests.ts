// Stand-ins for a QEMU that died while the engine was down; they only report its exit.

import type { DestinationGuest, SourceGuest } from "../../../effects/ports.js";
import { type Answer, type Cause, failed, nothing, unknown } from "../../../protocol/effect-result.js";

const tellsDeath =
  (cause: Cause) =>
  (listener: (fact: { type: "process.exited"; cause: Cause }) => void): (() => void) => {
    let told = true;
    // Reported in a later turn, as a monitor would: the observing machine is still being started.
    queueMicrotask(() => told && listener({ type: "process.exited", cause }));
    return () => {
      told = false;
    };
  };

/** Gives no answer: the exit is reported instead. */
const silence = (signal: AbortSignal): Promise<Answer<never>> =>
  new Promise((resolve) =>
    signal.addEventListener("abort", () => resolve(unknown("QEMU has exited")), { once: true }),
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
