// A simulated guest without QEMU: pre-copy with a progress event every 100 ms, 5 ms of switchover; all other effects answer
// immediately. Reports the time from QEMU's `completed` to `cont`.

import { setTimeout as sleep } from "node:timers/promises";
import type { DestinationFact, DestinationGuest, SourceFact, SourceGuest } from "../src/effects/ports.js";
import { done, nothing } from "../src/protocol/effect-result.js";
import { anywhere, streamAddress } from "../src/protocol/peer-text.js";

const passMs = 100;
const switchoverMs = 5;
const passBytes = 2 ** 24;

export function simulateGuest(uuid: string, passes: number) {
  let tellSource: (fact: SourceFact) => void = () => {};
  let tellDestination: (fact: DestinationFact) => void = () => {};
  let completedMs = Number.NaN;
  let contMs = Number.NaN;

  const move = async () => {
    tellDestination({ type: "monitor.active" });
    for (let pass = 1; pass <= passes; pass += 1) {
      await sleep(passMs);
      tellSource({ type: "monitor.progressed", progress: progressOf(pass, passes) });
    }
    const stoppedMs = performance.now();
    await sleep(switchoverMs);
    // A real QEMU would not have waited for our event loop.
    completedMs = Math.min(stoppedMs + switchoverMs, performance.now());
    tellDestination({ type: "monitor.completed" });
    tellSource({ type: "monitor.completed" });
  };

  const source: SourceGuest = {
    watch: (listener) => {
      tellSource = listener;
      return () => {
        tellSource = () => {};
      };
    },
    describe: async () =>
      done({
        guest: {
          uuid,
          guestWas: "running",
          qemuVersion: "7.2.0",
          memoryBytes: passes * passBytes,
          capabilities: [],
          disks: [],
          fencingToken: null,
        },
        settings: { capabilities: {}, parameters: {} },
        earlier: null,
      }),
    probe: async () => done("none"),
    mirror: async () => nothing,
    completeMirrors: async () => nothing,
    cancelMirrors: async () => nothing,
    startPostcopy: async () => nothing,
    pausePostcopy: async () => nothing,
    resumePostcopy: async () => done("connecting"),
    start: async () => {
      void move();
      return nothing;
    },
    setLimits: async () => nothing,
    throttle: async () => nothing,
    suspend: async () => nothing,
    continue: async () => nothing,
    cancel: async () => done("cancelled"),
    forceCancel: async () => done("cancelled"),
    restore: async () => nothing,
    kill: async () => nothing,
  };
  const destination: DestinationGuest = {
    watch: (listener) => {
      tellDestination = listener;
      return () => {
        tellDestination = () => {};
      };
    },
    prepare: async () => done({ uri: streamAddress(`unix:/run/${uuid}`, anywhere), capabilities: [] }),
    probe: async () => done("listening"),
    listenAgain: async () => done({ uri: streamAddress("unix:/x", anywhere) }),
    resume: async () => {
      contMs = performance.now();
      return nothing;
    },
    kill: async () => nothing,
  };
  return { source, destination, addedPauseMs: () => contMs - completedMs };
}

const progressOf = (pass: number, passes: number) => ({
  transferredBytes: pass * passBytes,
  remainingBytes: (passes - pass) * passBytes,
  totalBytes: passes * passBytes,
  dirtyBytesPerSecond: 0,
  bandwidthBytesPerSecond: (passBytes * 1000) / passMs,
  pass,
  expectedDowntimeMs: switchoverMs,
  elapsedMs: pass * passMs,

  disks: null,
});
