// Runs the sweep's cases on real QEMU, and judges each from outside: by the guest's QEMUs and its count.

import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { migrateWith } from "../../../src/library/local/migrate.js";
import type { RunningGuest } from "../../../src/library/local/running-guest.js";
import type { Migration } from "../../../src/library/migration-handle.js";
import { describeContinuity } from "../../../src/proof-guest/continuity.js";
import { launchProofGuest, type ProofGuest } from "../../../src/proof-guest/launch.js";
import { messageOf } from "../../../src/protocol/effect-result.js";
import type { OutcomeKind } from "../../../src/protocol/outcomes.js";
import { type Etcd, startEtcd } from "../../support/etcd.js";
import { patienceMs } from "../../support/patience.js";
import { commandLine, qemusOf } from "../../support/qemus-of.js";
import { runEngine } from "../../support/run-engine.js";
import { type FaultCase, killsEngine } from "./cases.js";
import type { EngineLine, EngineOptions } from "./engine.js";
import { takeGuest } from "./handed-guest.js";
import { copiesDisk, Injection, leadsOf, needFence } from "./injection.js";

export type Verdict = "one running" | "none but settled later" | "lost with its QEMU" | "stuck" | "two";

export interface SweepResult {
  readonly verdict: Verdict;
  /** `none begun` when the engine died before its migration was in the journal. */
  readonly outcome: OutcomeKind | "none begun";
  /** Whether each of the faults occurred. */
  readonly met: boolean;
  readonly why: string;
}

interface Ended {
  readonly outcome: SweepResult["outcome"];
  readonly guest: RunningGuest | null;
  /** The pids of the guest's QEMUs that were killed. */
  readonly killed: readonly number[];
  readonly met: boolean;
}

const diskBytes = 16 * 2 ** 20;
/** One engine for each fault that kills it, and the last one. */
const maxEngines = 8;

/** Uses one guest after another: a lost one is replaced. */
export class Sweeper {
  /** All files of the runs are below this directory, so that remains are found. */
  readonly #directory = mkdtempSync(join(tmpdir(), "s-"));
  readonly #outside = process.env["TMPDIR"];
  #proof: ProofGuest | undefined;
  #guest: RunningGuest | undefined;
  /** The guest's image, and the path to which it would be copied. */
  #image = "";
  #nextImage = "";
  #images = 0;
  #etcd: Etcd | undefined;

  constructor() {
    process.env["TMPDIR"] = this.#directory;
  }

  async run(faults: readonly FaultCase[]): Promise<SweepResult> {
    this.#etcd ??= await startEtcd();
    if (this.#proof === undefined) {
      this.#image = this.#newImage();
      this.#proof = await launchProofGuest({ disk: { path: this.#image, format: "raw" } });
    }
    this.#guest ??= this.#proof.guest;
    const { uuid } = this.#guest.spec;
    const inOwnProcess = [...faults, ...leadsOf(faults)].some(killsEngine);
    let ended: Ended | undefined;
    try {
      ended = await (inOwnProcess ? this.#runEngines(faults) : this.#runHere(faults));
      const { outcome, guest, killed, met } = ended;
      const seen = await judge(uuid, killed, outcome, guest);
      let lost = seen === "lost with its QEMU";
      if (existsSync(this.#nextImage) && this.#nextImage !== this.#image && outcome === "arrived") {
        rmSync(this.#image);
        this.#image = this.#nextImage;
      }
      if (guest === null && !lost && outcome !== "undecided")
        throw new Error(`the outcome ${outcome} names no guest, but one exists`);
      if (!lost) {
        await this.#proof.waitForPasses(1, patienceMs).catch((error: unknown) => {
          // The answer after which the victim was to be killed may arrive when the migration is over.
          if (guest === null || !killed.includes(guest.process.pid)) throw error;
          lost = true;
        });
        const report = await this.#proof.check();
        if (!report.ok && !lost) throw new Error(describeContinuity(report));
      }
      // A guest that cannot be identified any more, or is gone, is replaced by a new one.
      if (guest === null || lost) {
        await this.#endGuest(inOwnProcess);
        await guest?.process.exited;
      } else this.#guest = guest;
      this.#leftNothing();
      return { verdict: lost ? "lost with its QEMU" : seen, outcome, met, why: "" };
    } catch (error) {
      const verdict = qemusOf(uuid).length > 1 ? "two" : "stuck";
      await this.#endGuest(inOwnProcess);
      // Remains of this run do not count against the next one.
      for (const name of this.#directories())
        rmSync(join(this.#directory, name), { recursive: true, force: true });
      return {
        verdict,
        outcome: ended?.outcome ?? "undecided",
        met: ended?.met ?? false,
        why: messageOf(error),
      };
    }
  }

  #directories(): string[] {
    const own = basename(this.#proof?.guest.process.handle.directory ?? "");
    return readdirSync(this.#directory).filter(
      (file) => /^switchover-\w{8}-\w{4}-/.test(file) && file !== own,
    );
  }

  /** @throws Error when anything but the running guest and its proof is left (G6). */
  #leftNothing(): void {
    const own = [this.#guest?.process.handle.directory ?? "", this.#image].map((file) => basename(file));
    const left = readdirSync(this.#directory).filter(
      (text) => !own.includes(text) && !/^(?:switchover-proof|etcd|tsx|node)-/.test(text),
    );
    if (left.length > 0) throw new Error(`files are left: ${left.join(", ")}`);
  }

  /** Ends everything that is left. */
  async end(): Promise<void> {
    await this.#endGuest(false);
    await this.#etcd?.end();
    if (this.#outside === undefined) delete process.env["TMPDIR"];
    else process.env["TMPDIR"] = this.#outside;
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #injected(faults: readonly FaultCase[], guest: RunningGuest) {
    const { uuid } = guest.spec;
    const etcd = (needFence(faults) && this.#etcd?.endpoint) || null;
    const leads = leadsOf(faults);
    this.#nextImage = copiesDisk([...faults, ...leads]) ? this.#newImage() : this.#image;
    return { faults, leads, uuid, sourcePid: guest.process.pid, etcd, image: this.#nextImage };
  }

  get #side() {
    return { path: this.#nextImage, format: "raw" } as const;
  }

  /** Returns a path; the first call creates the directory. */
  #newImage(): string {
    this.#images += 1;
    const path = join(this.#directory, `image-${this.#images}`);
    if (this.#proof === undefined) writeFileSync(path, Buffer.alloc(diskBytes));
    return path;
  }

  async #runHere(faults: readonly FaultCase[]): Promise<Ended> {
    const { proof, guest } = this.#present();
    const killed: number[] = [];
    const met: FaultCase[] = [];
    const injected = this.#injected(faults, guest);
    const injection = new Injection(
      injected,
      (fault) => met.push(fault),
      (pid) => killed.push(pid),
    );
    const migration: Migration = migrateWith(
      {
        guest,
        destination: { sideArgs: proof.nextSide("destination", this.#side) },
        ...injection.options(() => migration),
      },
      injection.around,
    );
    const { kind, guest: last } = await migration.outcome;
    return { outcome: kind, guest: last, killed, met: faults.every((fault) => met.includes(fault)) };
  }

  /** Starts engines in their own processes, one after another, until one sees the end of the migration. */
  async #runEngines(faults: readonly FaultCase[]): Promise<Ended> {
    const { proof, guest } = this.#present();
    const { spec, process: qemu } = guest;
    // A monitor serves one client, and from now on that is the engine.
    qemu.main.session.close();
    qemu.rescue.session.close();
    const journal = mkdtempSync(join(tmpdir(), "journal-"));
    const killed: number[] = [];
    const injected = { ...this.#injected(faults, guest), faults: [...faults], leads: [...leadsOf(faults)] };
    const sideArgs = proof.nextSide("destination", this.#side);
    try {
      for (let engines = 0; engines < maxEngines; engines += 1) {
        const recovers = engines > 0;
        const lines = await linesOf({
          guest: { spec, handle: qemu.handle },
          recovers,
          sideArgs,
          journal,
          injected,
        });
        for (const line of lines) {
          if ("killed" in line) killed.push(line.killed);
          else if ("met" in line) {
            const list = [injected.faults, injected.leads].find((items) =>
              items.some((fault) => isSame(fault, line.met)),
            );
            list?.splice(
              list.findIndex((fault) => isSame(fault, line.met)),
              1,
            );
          } else {
            const { kind, guest: last, why } = line.ended;
            if (kind === null && last === null) throw new Error(why);
            return {
              outcome: kind ?? "none begun",
              guest: last === null || killed.includes(last.handle.pid) ? null : await takeGuest(last),
              killed,
              met: injected.faults.length === 0,
            };
          }
        }
      }
      throw new Error(`${maxEngines} engines have died`);
    } finally {
      rmSync(journal, { recursive: true });
    }
  }

  #present() {
    if (this.#proof === undefined || this.#guest === undefined) throw new Error("no guest was booted");
    return { proof: this.#proof, guest: this.#guest };
  }

  /**
   * Kills what is left, as an operator would. `enginesEnded`: the process that held the QEMU has ended, so its files must be
   * removed as well.
   */
  async #endGuest(enginesEnded: boolean): Promise<void> {
    const { uuid } = this.#proof?.guest.spec ?? {};
    const pids = uuid === undefined ? [] : qemusOf(uuid);
    const left = pids.map((pid) => commandLine(`${pid}`).join(" "));
    for (const pid of pids) process.kill(pid, "SIGKILL");
    await this.#guest?.process.exited;
    if (enginesEnded)
      for (const name of this.#directories().filter((each) => left.some((words) => words.includes(each))))
        rmSync(join(this.#directory, name), { recursive: true, force: true });
    // The files of a QEMU that was left to an operator are removed as soon as its owner has seen its end.
    for (let looks = 0; looks < 40 && this.#directories().length > 0; looks += 1)
      await new Promise((resolve) => setTimeout(resolve, 50));
    await this.#proof?.remove();
    for (const path of [this.#image, this.#nextImage]) rmSync(path, { force: true });
    this.#proof = undefined;
    this.#guest = undefined;
  }
}

const isSame = (one: FaultCase, other: FaultCase) => one.place === other.place && one.way === other.way;

/** Judges by the QEMUs that exist: if the outcome names one, only that one may be left. */
async function judge(
  uuid: string,
  killed: readonly number[],
  outcome: SweepResult["outcome"],
  guest: RunningGuest | null,
): Promise<Verdict> {
  const endMs = Date.now() + patienceMs;
  for (let looks = 0; ; looks += 1) {
    // A killed process may take a moment to end; it is not a copy of the guest any more.
    const alive = qemusOf(uuid).filter((pid) => !killed.includes(pid));
    if (outcome !== "lost" && alive.length === 1 && (guest === null || alive[0] === guest.process.pid))
      return looks === 0 && outcome !== "undecided" ? "one running" : "none but settled later";
    if (alive.length === 0 && killed.length > 0) return "lost with its QEMU";
    // In post-copy the other QEMU is left to an operator, and cannot run the guest whole.
    if (outcome === "lost" && killed.length > 0) return "lost with its QEMU";
    if (Date.now() > endMs) throw new Error(`QEMUs ${alive} of the guest are left`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function linesOf(words: EngineOptions): Promise<EngineLine[]> {
  const out = await runEngine("fault-engine", words);
  return out
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as EngineLine);
}
