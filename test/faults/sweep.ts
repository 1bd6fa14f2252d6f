// The fault sweep on real QEMU, driven by the step table: each effect and each question fails, stays without an answer,
// loses its answer, happens twice, comes late, or a QEMU dies before, during or after it. A new row is swept at once.

import { randomUUID } from "node:crypto";
import type { Around } from "../../src/effects/bind.js";
import { describeContinuity } from "../../src/guest/continuity.js";
import type { RunningGuest } from "../../src/guests.js";
import { type MigrateOptions, migrateWith } from "../../src/migrate.js";
import type { Migration } from "../../src/migration.js";
import { launchProofGuest, type ProofGuest } from "../../src/proof-guest.js";
import { type Answer, failed, messageOf, unknown } from "../../src/protocol/answer.js";
import { type EffectName, effects, type QuestionName, questions } from "../../src/protocol/steps.js";
import { qemusOf } from "../migrate/qemus-of.js";

type Place = EffectName | QuestionName;

const ways = [
  "fails",
  "never happens, no answer",
  "happens, its answer is lost",
  "happens twice",
  "comes late",
  "the source's QEMU dies before it",
  "the source's QEMU dies during it",
  "the source's QEMU dies after it",
  "the destination's QEMU dies before it",
  "the destination's QEMU dies during it",
  "the destination's QEMU dies after it",
] as const;
type Way = (typeof ways)[number];

export interface FaultCase {
  readonly place: Place;
  readonly way: Way;
}
export const describeCase = ({ place, way }: FaultCase): string => `${place}: ${way}`;

/** A peer's question has no `fails` of its own: that is the other side's effect. */
const isPossible = ({ place, way }: FaultCase): boolean => way !== "fails" || place in effects;

export const sweep: readonly FaultCase[] = [
  ...(Object.keys(effects) as EffectName[]),
  ...(Object.keys(questions) as QuestionName[]),
].flatMap((place) => ways.map((way) => ({ place, way })).filter(isPossible));

/** What must go wrong before, so that the migration comes by the place at all. */
const ledTo: Partial<Record<Place, FaultCase>> = {
  rescue: { place: "cancel", way: "never happens, no answer" },
  resume: { place: "take", way: "never happens, no answer" },
  settle: { place: "askFinish", way: "happens, its answer is lost" },
  yield: { place: "askFinish", way: "never happens, no answer" },
};
/** As often as the coordinator asks. */
const untilGivenUp = 4;

export type Verdict = "one running" | "none but settled later" | "lost with its QEMU" | "stuck" | "two";

export interface SweepResult {
  readonly verdict: Verdict;
  readonly outcome: string;
  /** Whether the fault was met at all. */
  readonly met: boolean;
  readonly why: string;
}

/** Short enough for a sweep; each is still far longer than what it waits for takes. */
const deadlines = {
  performAskedMs: 2_000,
  switchoverMs: 1_500,
  cancelMs: 300,
  confirmMs: 700,
  listenMs: 3_000,
  receiveMs: 10_000,
  finishMs: 3_000,
  completeMs: 1_500,
  backoffMs: 10,
  backoffHighestMs: 100,
};
const lateMs = 150;
const settleMs = 20_000;

/** One guest after another: a lost one is replaced. */
export class Sweeper {
  #proof: ProofGuest | undefined;
  #guest: RunningGuest | undefined;

  async run(faults: readonly FaultCase[]): Promise<SweepResult> {
    this.#proof ??= await launchProofGuest();
    const proof = this.#proof;
    this.#guest ??= proof.guest;
    const guest = this.#guest;
    const { uuid } = guest.spec;
    const injected = new Injection(faults, guest);
    const migration: Migration = migrateWith(
      {
        guest,
        destination: { sideArgs: proof.nextSide("destination") },
        deadlines,
        ...injected.options(() => migration),
      },
      injected.around,
    );
    const outcome = await migration.outcome;
    let verdict: Verdict;
    let why = "";
    try {
      verdict = await this.#judge(uuid, injected.killed, outcome.kind === "undecided");
      if (outcome.guest === null && verdict !== "lost with its QEMU" && outcome.kind !== "undecided")
        throw new Error(`the outcome ${outcome.kind} names no guest, but one is there`);
      const last = outcome.guest ?? undefined;
      if (verdict !== "lost with its QEMU") {
        await proof.waitForPasses(1, 20_000);
        const report = await proof.check();
        if (!report.ok) throw new Error(describeContinuity(report));
        if (last !== undefined) this.#guest = last;
      }
      // What cannot be named any more, or is gone, makes room for a new guest.
      if (last === undefined || verdict === "lost with its QEMU") await this.end();
    } catch (error) {
      verdict = qemusOf(uuid).length > 1 ? "two" : "stuck";
      why = messageOf(error);
      await this.end();
    }
    return { verdict, outcome: outcome.kind, met: injected.met, why };
  }

  /** Ends what is left. */
  async end(): Promise<void> {
    const { uuid } = this.#proof?.guest.spec ?? {};
    if (uuid !== undefined) for (const pid of qemusOf(uuid)) process.kill(pid, "SIGKILL");
    await this.#guest?.process.exited;
    await this.#proof?.remove();
    this.#proof = undefined;
    this.#guest = undefined;
  }

  async #judge(uuid: string, killed: readonly number[], undecided: boolean): Promise<Verdict> {
    const endMs = Date.now() + settleMs;
    for (let looks = 0; ; looks += 1) {
      // A killed process may take a moment to die; it is no copy of the guest any more.
      const alive = qemusOf(uuid).filter((it) => !killed.includes(it)).length;
      if (alive === 1) return looks === 0 && !undecided ? "one running" : "none but settled later";
      if (alive === 0 && killed.length > 0) return "lost with its QEMU";
      if (Date.now() > endMs) throw new Error(`${alive} QEMUs of the guest are left`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** Puts the faults in at their places, each once. */
class Injection {
  readonly #open: FaultCase[];
  readonly #all: readonly FaultCase[];
  readonly #before: FaultCase[];
  readonly #guest: RunningGuest;
  /** The guest's QEMUs that were killed. */
  readonly killed: number[] = [];

  constructor(faults: readonly FaultCase[], guest: RunningGuest) {
    this.#open = [...faults];
    this.#all = faults;
    this.#before = faults.flatMap(({ place }) => {
      const fault = ledTo[place];
      return fault === undefined ? [] : Array<FaultCase>(untilGivenUp).fill(fault);
    });
    this.#guest = guest;
  }

  get met(): boolean {
    return this.#open.length < this.#all.length;
  }

  /** What has to happen so that the migration comes by the fault's place. */
  options(migration: () => Migration): Partial<MigrateOptions> {
    const at = (place: Place) => this.#all.some((it) => it.place === place);
    const undoes = (["cancel", "rescue", "restore", "killDestination", "recordRefusal"] as const).some(at);
    const aborts = undoes || at("askAbort") || at("askFinishCancelled") || at("askConfirmCancelled");
    const slow = aborts || at("tune");
    let moved = false;
    return {
      ids: { next: randomUUID },
      pauseBeforeSwitchover: at("continue"),
      limits: slow ? { bandwidthMiBps: 24, maxDowntimeMs: 20, stallMs: 2_000 } : { stallMs: 2_000 },
      onRecord: (record) => {
        if (record.kind !== "state" || record.side !== "source") return;
        if (record.state.startsWith("precopying") && !moved) {
          moved = true;
          if (at("tune")) void migration().setBandwidth(0);
          else if (aborts) setTimeout(() => void migration().abort(), 20);
        }
        if (record.state === "handedOver" && at("yield")) this.#kill("source");
      },
    };
  }

  readonly around: Around = async <T>(place: Place, call: () => Promise<Answer<T>>): Promise<Answer<T>> => {
    const way = take(this.#open, place) ?? take(this.#before, place);
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
        const side = way.includes("source's") ? "source" : "destination";
        if (way.endsWith("before it")) this.#kill(side);
        const answer = call();
        if (way.endsWith("during it")) this.#kill(side);
        await answer;
        if (way.endsWith("after it")) this.#kill(side);
        return answer;
      }
    }
  };

  #kill(side: "source" | "destination"): void {
    const { pid } = this.#guest.process;
    const incoming = qemusOf(this.#guest.spec.uuid, true).filter((it) => it !== pid);
    const alive = qemusOf(this.#guest.spec.uuid);
    for (const it of side === "source" ? alive.filter((other) => other === pid) : incoming) {
      this.killed.push(it);
      process.kill(it, "SIGKILL");
    }
  }
}

function take(faults: FaultCase[], place: Place): Way | undefined {
  const index = faults.findIndex((it) => it.place === place);
  return index === -1 ? undefined : faults.splice(index, 1)[0]?.way;
}

/** Case number `seed`: the sweep's own first, then two of them at once, chosen by the seed. */
export function caseOf(seed: number): readonly FaultCase[] {
  const single = sweep[seed];
  if (single !== undefined) return [single];
  const pick = (salt: number) => sweep[Math.abs(Math.imul(seed * 2 + salt, 0x9e3779b1) >>> 7) % sweep.length];
  return [pick(1), pick(2)].filter((it) => it !== undefined);
}
