// Injects each fault once at its place into the engine of this process.

import { randomUUID } from "node:crypto";
import { etcdFence } from "../../../src/drivers/fencing/etcd.js";
import type { EffectInterceptor } from "../../../src/effects/bind.js";
import type { Observation } from "../../../src/effects/trace.js";
import type { MigrateOptions } from "../../../src/library/local/migrate.js";
import type { Migration } from "../../../src/library/migration-handle.js";
import type { ConvergenceAction, ConvergencePolicy } from "../../../src/protocol/convergence/policy.js";
import { type Answer, failed, unknown } from "../../../src/protocol/effect-result.js";
import { qemusOf } from "../../support/qemus-of.js";
import { type FaultCase, leadsTo, type Place, type Way } from "./cases.js";

export interface Injected {
  readonly faults: readonly FaultCase[];
  /** The preconditions that have not happened yet. */
  readonly leads: readonly FaultCase[];
  readonly uuid: string;
  /** The source QEMU. */
  readonly sourcePid: number;
  /** The endpoint of the etcd that is the guest's fence; null for none. */
  readonly etcd: string | null;
  /** The path to which the guest's disk is copied. */
  readonly image: string;
}

/** Places that a migration reaches only when disks are copied, and when it switches to post-copy. */
const ofDisks: readonly Place[] = ["mirror", "completeMirrors", "cancelMirrors"];
const ofBrokenPostcopy: readonly Place[] = ["pausePostcopy", "reconnect", "resumePostcopy", "listenAgain"];
const ofPostcopy: readonly Place[] = [
  "announcePostcopy",
  "retractPostcopy",
  "startPostcopy",
  "handOver",
  ...ofBrokenPostcopy,
];

export const copiesDisk = (faults: readonly FaultCase[]): boolean =>
  faults.some(({ place }) => ofDisks.includes(place));

/** Short enough for a sweep; each is still far longer than the operation that it limits. */
const deadlines = {
  performRequestedMs: 2_000,
  switchoverMs: 1_500,
  cancelMs: 300,
  confirmMs: 700,
  listenMs: 3_000,
  receiveMs: 10_000,
  finishMs: 3_000,
  completeMs: 1_500,
  backoffMs: 10,
  maxBackoffMs: 100,
};
const lateMs = 150;

/** Whether the guest needs a fence to reach these places. */
export const needFence = (faults: readonly FaultCase[]): boolean =>
  faults.some(({ place }) => place === "claim" || place === "disclaim" || place === "fence");

export const leadsOf = (faults: readonly FaultCase[]): readonly FaultCase[] =>
  faults.flatMap(({ place }) => leadsTo(place));

export class Injection {
  readonly #injected: Injected;
  readonly #faults: FaultCase[];
  readonly #leads: FaultCase[];
  readonly #onMet: (fault: FaultCase) => void;
  readonly #onKill: (pid: number) => void;
  #stopped = false;

  /** `onMet` and `onKill` are called before the fault, which may end this process. */
  constructor(injected: Injected, onMet: (fault: FaultCase) => void, onKill: (pid: number) => void) {
    this.#injected = injected;
    this.#faults = [...injected.faults];
    this.#leads = [...injected.leads];
    this.#onMet = onMet;
    this.#onKill = onKill;
  }

  #at(place: Place): boolean {
    return [...this.#injected.faults, ...this.#injected.leads].some((fault) => fault.place === place);
  }

  get fence() {
    const { etcd } = this.#injected;
    return etcd === null ? undefined : etcdFence({ endpoints: [etcd] });
  }

  /** The preconditions for the migration to reach the fault's place. */
  options(migration: () => Migration): Partial<MigrateOptions> {
    const undoes = (["cancel", "forceCancel", "restore", "killDestination", "recordRefusal"] as const).some(
      (place) => this.#at(place),
    );
    const aborts =
      undoes || this.#at("askAbort") || this.#at("askFinishCancelled") || this.#at("askConfirmCancelled");
    const convergence = this.#convergence;
    const slow =
      (aborts && !this.#at("fence")) ||
      this.#at("setLimits") ||
      this.#at("probeSource") ||
      convergence.length > 0;
    const { fence } = this;
    const copies = ofDisks.some((place) => this.#at(place));
    const goesOver = ofPostcopy.some((place) => this.#at(place));
    const breaks = ofBrokenPostcopy.some((place) => this.#at(place));
    let moved = false;
    return {
      ids: { next: randomUUID },
      deadlines,
      pauseBeforeSwitchover: this.#at("continue"),
      ...(copies && {
        storage: { images: [{ disk: "proof", path: this.#injected.image, format: "raw" }] },
      }),
      ...(goesOver && { stream: { postcopy: { bandwidthMiBps: 8 } } }),
      limits: goesOver
        ? { bandwidthMiBps: 24, maxDowntimeMs: 20, stallMs: breaks ? 500 : 2_000 }
        : slow
          ? { bandwidthMiBps: 24, maxDowntimeMs: 20, stallMs: 2_000 }
          : { stallMs: 2_000 },
      convergence,
      ...(fence ? { fence } : {}),
      ...(fence && this.#at("fence") ? { policy: { whenUnreachable: "fence", patienceMs: 300 } } : {}),
      observe: (record) => {
        this.observe(record);
        if (record.kind !== "state" || record.side !== "source") return;
        if (this.#at("retractPostcopy") && record.state.includes("postcopy.asked")) void migration().abort();
        if (!record.state.startsWith("precopying") || moved) return;
        moved = true;
        if (goesOver) setTimeout(() => void migration().startPostcopy(), 50);
        else if (this.#at("setLimits")) void migration().setBandwidth(0);
        else if (aborts && slow) setTimeout(() => void migration().abort(), 20);
      },
    };
  }

  /** A rule that is due at once for each measure under test; without it the guest would arrive a little later. */
  get #convergence(): ConvergencePolicy {
    const measures: readonly (readonly [Place, ConvergenceAction])[] = [
      ["relaxLimits", { relaxDowntimeToMs: 1_000 }],
      ["throttle", "throttle"],
      ["suspend", "suspend"],
    ];
    const when = { elapsedMs: 50 };
    return measures.filter(([place]) => this.#at(place)).map(([, measure]) => ({ when, do: measure }));
  }

  readonly observe = (record: Observation): void => {
    if (record.kind !== "state" || record.side !== "source") return;
    if (record.state === "handedOver" && this.#at("concede")) this.#kill("source");
    if (!ofBrokenPostcopy.some((place) => this.#at(place))) return;
    // The guest is stopped until its connection is given up.
    if (record.state === "serving.watching") this.#signalDestination("SIGSTOP");
    if (record.state === "serving.breaking" || record.state.startsWith("reconnecting"))
      this.#signalDestination("SIGCONT");
  };

  readonly around: EffectInterceptor = async <T>(
    place: Place,
    call: () => Promise<Answer<T>>,
  ): Promise<Answer<T>> => {
    const way = this.#take(place);
    switch (way) {
      case undefined:
        return call();
      case "fails":
        return failed("it was made to fail");
      case "never happens, no answer":
        return unknown("it was made to get no answer");
      case "happens, its answer is lost":
        await call();
        return unknown("its answer was lost");
      case "happens twice":
        await call();
        return call();
      case "comes late":
        await new Promise((resolve) => setTimeout(resolve, lateMs));
        return call();
      default: {
        const kill = () =>
          this.#kill(way.includes("source's") ? "source" : way.includes("engine") ? "engine" : "destination");
        if (way.endsWith("before it")) kill();
        const answer = call();
        if (way.endsWith("during it")) kill();
        await answer;
        if (way.endsWith("after it")) kill();
        return answer;
      }
    }
  };

  #take(place: Place): Way | undefined {
    for (const list of [this.#faults, this.#leads]) {
      const index = list.findIndex((candidate) => candidate.place === place);
      const [fault] = index === -1 ? [] : list.splice(index, 1);
      if (fault === undefined) continue;
      this.#onMet(fault);
      return fault.way;
    }
    return undefined;
  }

  #signalDestination(signal: "SIGSTOP" | "SIGCONT"): void {
    const { uuid, sourcePid } = this.#injected;
    if (signal === "SIGSTOP" && this.#stopped) return;
    this.#stopped = true;
    for (const pid of qemusOf(uuid)) if (pid !== sourcePid) process.kill(pid, signal);
  }

  #kill(what: "source" | "destination" | "engine"): void {
    const { uuid, sourcePid } = this.#injected;
    const pids = {
      engine: () => [process.pid],
      source: () => qemusOf(uuid).filter((pid) => pid === sourcePid),
      destination: () => qemusOf(uuid, true).filter((pid) => pid !== sourcePid),
    };
    for (const pid of pids[what]()) {
      if (what !== "engine") this.#onKill(pid);
      process.kill(pid, "SIGKILL");
    }
  }
}
