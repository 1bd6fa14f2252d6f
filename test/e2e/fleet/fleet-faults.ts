// Drains a real fleet by the command, on DBOS, while daemons, QEMUs, the database server and the conductor are killed at seeded
// moments; and checks the end: each guest runs once with a continuous count, or its QEMU was killed here; by the hosts' records
// no limit was exceeded.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod/mini";
import { readStory } from "../../../src/drivers/journal/story.js";
import { isFinal } from "../../../src/machines/shared/states.js";
import { patienceMs } from "../../support/patience.js";
import { Postgres } from "../../support/postgres.js";
import { programArguments } from "../../support/programs.js";
import { commandLine } from "../../support/qemus-of.js";
import { RealFleet } from "../../support/real-fleet.js";
import { dice } from "../../support/simulated-fleet.js";

const hosts = Array.from({ length: 8 }, (_, index) => `h${index}`);
const limits = { perSource: 2, perDestination: 2, perLink: 4, total: 5 };
/** Makes a migration last for some seconds. */
const bandwidthMiBps = 2;
const seconds = 8;
/** After so many deaths of its conductor a drain counts as endless. */
const maxLives = 30;

const kinds = ["daemon", "QEMU", "server", "orchestrator"] as const;
interface Harm {
  readonly kind: (typeof kinds)[number];
  readonly afterMs: number;
  readonly roll: number;
}

/** One of each kind, and two more. */
export function harmsOf(seed: number): readonly Harm[] {
  const roll = dice(seed + 1);
  return [...kinds, kinds[roll(4)] ?? "daemon", kinds[roll(4)] ?? "QEMU"].map((kind) => ({
    kind,
    afterMs: roll(seconds * 1000),
    roll: roll(2 ** 30),
  }));
}

const move = z.looseObject({
  token: z.number(),
  migrationId: z.string(),
  guest: z.string(),
  from: z.string(),
  to: z.string(),
});
const line = z.discriminatedUnion("type", [
  z.object({ type: z.literal("drain"), id: z.string() }),
  z.looseObject({
    type: z.literal("event"),
    kind: z.string(),
    move: z.optional(move),
    token: z.optional(z.number()),
    end: z.optional(z.string()),
    why: z.optional(z.string()),
  }),
  z.looseObject({ type: z.literal("trouble"), why: z.string() }),
  z.object({
    type: z.literal("report"),
    guests: z.array(
      z.object({ uuid: z.string(), name: z.string(), status: z.string(), at: z.string(), why: z.string() }),
    ),
  }),
]);
type Report = Extract<z.output<typeof line>, { type: "report" }>["guests"];

interface Hit {
  readonly guest: string;
  readonly wasComing: boolean;
  /** Describes the move that was under way. */
  readonly token: number | undefined;
}

export interface Swept {
  readonly arrived: number;
  readonly stayed: number;
  readonly killed: number;
  readonly lives: number;
  readonly most: Readonly<Record<keyof typeof limits, number>>;
  readonly tookMs: number;
}

/** @throws Error that names the condition that did not hold. */
export async function drainUnderFaults(
  seed: number,
  tell: (what: string) => void = () => {},
): Promise<Swept> {
  const fleet = new RealFleet(
    hosts,
    Array.from({ length: 24 }, (_, index) => hosts[index % 8] ?? ""),
    {
      racks: 4,
      wish: { workingSetMiB: 2, dirtyMiBps: 1 },
    },
  );
  const postgres = new Postgres();
  try {
    await Promise.all([fleet.begin(), postgres.start()]);
    return await new Sweep(fleet, postgres, tell).run(harmsOf(seed));
  } finally {
    await postgres.remove();
    await fleet.end();
  }
}

class Sweep {
  readonly #fleet: RealFleet;
  readonly #postgres: Postgres;
  readonly #tell: (what: string) => void;
  readonly #path: string;
  readonly #hits: Hit[] = [];
  /** Keyed by guest. */
  readonly #underWay = new Map<string, number>();
  readonly #ends = new Map<number, string>();
  readonly #turns = new Map<string, Promise<void>>();
  #child: ReturnType<typeof spawn> | undefined;
  #id: string | undefined;
  #begun = () => {};
  #report: Report | undefined;
  #said = "";

  constructor(fleet: RealFleet, postgres: Postgres, tell: (what: string) => void) {
    this.#fleet = fleet;
    this.#postgres = postgres;
    this.#tell = tell;
    const [first] = fleet.hosts.values();
    this.#path = join(first?.directory ?? "", "fleet.json");
    writeFileSync(this.#path, JSON.stringify(fleet.file));
  }

  async run(harms: readonly Harm[]): Promise<Swept> {
    const startedMs = Date.now();
    const begun = new Promise<void>((resolve) => {
      this.#begun = resolve;
    });
    const conducted = this.#conduct();
    await Promise.race([begun, conducted]);
    await Promise.all(harms.map((harm) => this.#harm(harm)));
    const lives = await conducted;
    const tookMs = Date.now() - startedMs;
    const report = this.#report ?? [];
    const killed = await this.#checkGuests(report);
    const most = await this.#checkLimits();
    const count = (status: string) => report.filter((guest) => guest.status === status).length;
    return { arrived: count("arrived"), stayed: count("given up"), killed, lives, most, tookMs };
  }

  /** Restarts the conductor until the drain has ended; resolves to how often it died. */
  async #conduct(): Promise<number> {
    for (let lives = 1; lives <= maxLives; lives += 1) {
      // Before the conductor's first event the database may not know the drain.
      const what = this.#id === undefined ? ["rack:r0", "rack:r1"] : ["--resume", this.#id];
      const each = Object.entries({
        "per-source": limits.perSource,
        "per-destination": limits.perDestination,
        "per-link": limits.perLink,
        total: limits.total,
        bandwidth: bandwidthMiBps,
        attempts: 4,
      });
      const words = [...what, "--fleet", this.#path, "--engine", this.#postgres.url, "--json"];
      const child = spawn(
        process.execPath,
        [
          ...programArguments("switchover"),
          "drain",
          ...words,
          ...each.flatMap(([name, it]) => [`--${name}`, `${it}`]),
        ],
        { stdio: ["ignore", "pipe", "pipe"] },
      );
      this.#child = child;
      let [rest, id] = ["", ""];
      child.stdout.on("data", (text) => {
        const lines = `${rest}${text}`.split("\n");
        rest = lines.pop() ?? "";
        for (const item of lines) {
          const told = line.parse(JSON.parse(item));
          if (told.type === "drain") id = told.id;
          if (told.type === "event") this.#id ??= id;
          this.#hear(told);
        }
      });
      child.stderr.on("data", (text) => {
        this.#said += text;
      });
      await once(child, "close");
      if (this.#report !== undefined) return lives;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    throw new Error(`the drain did not end: ${this.#said}`);
  }

  #hear(told: z.output<typeof line>): void {
    if (told.type === "report") this.#report = told.guests;
    if (told.type === "trouble") this.#tell(`  asked again: ${told.why}`);
    if (told.type !== "event") return;
    if (told.move !== undefined) {
      this.#underWay.set(told.move.guest, told.move.token);
      this.#tell(`  ${told.move.token}: ${told.move.from} -> ${told.move.to}`);
      this.#begun();
    }
    if (told.token !== undefined && told.end !== undefined) {
      this.#ends.set(told.token, told.end);
      this.#tell(`  ${told.token}: ${told.end} ${told.why ?? ""}`);
    }
  }

  async #harm({ kind, afterMs, roll }: Harm): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    if (this.#report !== undefined) return;
    const awayMs = roll % 1_000;
    switch (kind) {
      case "daemon": {
        const name = hosts[roll % hosts.length] ?? "";
        this.#tell(`${afterMs} ms: the daemon of ${name} dies for ${awayMs} ms`);
        await this.#inTurn(name, async () => {
          await this.#fleet.hosts.get(name)?.kill();
          await new Promise((resolve) => setTimeout(resolve, awayMs));
          await this.#fleet.hosts.get(name)?.start();
        });
        break;
      }
      case "server":
        this.#tell(`${afterMs} ms: the engine's server dies for ${awayMs} ms`);
        await this.#inTurn("server", async () => {
          await this.#postgres.kill();
          await new Promise((resolve) => setTimeout(resolve, awayMs));
          await this.#postgres.start();
        });
        break;
      case "orchestrator":
        this.#tell(`${afterMs} ms: the conductor dies`);
        this.#child?.kill("SIGKILL");
        break;
      case "QEMU":
        this.#killQemu(afterMs, roll);
    }
  }

  /** A daemon that is still starting is killed once it has started. */
  #inTurn(what: string, dies: () => Promise<void>): Promise<void> {
    const turn = (this.#turns.get(what) ?? Promise.resolve()).then(dies);
    this.#turns.set(what, turn);
    return turn;
  }

  /** Returns a QEMU of a guest that is being migrated. */
  #killQemu(afterMs: number, roll: number): void {
    const both = this.#fleet.guests.filter((proofDomain) => proofDomain.pids().length === 2);
    const guest = both[roll % Math.max(both.length, 1)];
    const pid = guest?.pids()[roll % 2];
    if (guest === undefined || pid === undefined) return;
    const wasComing = commandLine(`${pid}`).includes("-incoming");
    this.#tell(`${afterMs} ms: the ${wasComing ? "coming" : "leaving"} QEMU of ${guest.name} dies`);
    this.#hits.push({ guest: guest.uuid, wasComing, token: this.#underWay.get(guest.uuid) });
    process.kill(pid, "SIGKILL");
  }

  /** Counts the guests that no longer run; the QEMU of each must have been killed here. */
  async #checkGuests(report: Report): Promise<number> {
    const stories = new Map(report.map((guest) => [guest.uuid, guest]));
    let killed = 0;
    const where = await this.#settled();
    for (const guest of this.#fleet.guests) {
      const [at, ...more] = where.get(guest.uuid) ?? [];
      if (more.length > 0) throw new Error(`${guest.name} is at ${at} and also at ${more}`);
      const pids = guest.pids();
      if (pids.length > 1) throw new Error(`${guest.name} has ${pids.length} QEMUs`);
      if (pids.length === 0) {
        const isOurs = this.#hits.some(
          (hit) =>
            hit.guest === guest.uuid && !(hit.wasComing && this.#ends.get(hit.token ?? 0) === "stayed"),
        );
        if (!isOurs) throw new Error(`${guest.name} runs nowhere, and this test did not kill it`);
        killed += 1;
        guest.check();
        continue;
      }
      await guest.counts("all");
      guest.check();
      const story = stories.get(guest.uuid);
      if (story !== undefined && at !== story.at)
        throw new Error(`${guest.name} is at ${at}, and its story ends at ${story.at}`);
    }
    return killed;
  }

  /** Checks for remains once the hosts have cleaned up. */
  async #settled(): Promise<ReadonlyMap<string, readonly string[]>> {
    const endMs = Date.now() + patienceMs;
    for (;;) {
      const where = await this.#fleet.whereAll();
      const isWhole = this.#fleet.guests.every(
        (guest) => guest.pids().length === where.get(guest.uuid)?.length,
      );
      if (isWhole || Date.now() > endMs) return where;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** @throws Error when more migrations were under way at once than allowed, by the hosts' records. */
  async #checkLimits(): Promise<Swept["most"]> {
    const rack = new Map(this.#fleet.file.hosts.map((host) => [host.name, host.labels["rack"] ?? ""]));
    const spans = new Map<string, { from: string; to: string; beginsMs: number; endsMs: number }>();
    for (const [name, { directory }] of this.#fleet.hosts) {
      const journal = join(directory, "state", "journal");
      for (const file of readdirSync(journal).filter((text) => text.endsWith(".journal"))) {
        const { records } = await readStory(join(journal, file));
        for (const side of ["source", "destination"] as const) {
          const own = records.filter((record) => record.side === side);
          const [first] = own;
          const last = own.findLast((record) => record.kind === "state" && isFinal(side, record.state));
          if (first === undefined || last === undefined) continue;
          const span = spans.get(first.migrationId) ?? { from: "", to: "", beginsMs: first.atMs, endsMs: 0 };
          spans.set(first.migrationId, span);
          span.beginsMs = Math.min(span.beginsMs, first.atMs);
          if (side === "source") Object.assign(span, { from: name, endsMs: last.atMs });
          else span.to = name;
        }
      }
    }
    if (spans.size === 0) throw new Error("no host has recorded a migration");
    const most = { perSource: 0, perDestination: 0, perLink: 0, total: 0 };
    const all = [...spans.values()];
    for (const { beginsMs } of all) {
      const now = all.filter((candidate) => candidate.beginsMs <= beginsMs && beginsMs < candidate.endsMs);
      const highest = (keyOf: (item: (typeof all)[number]) => string) => {
        const keys = now.map(keyOf);
        return Math.max(0, ...keys.map((key) => keys.filter((text) => text === key).length));
      };
      most.perSource = Math.max(
        most.perSource,
        highest((item) => item.from),
      );
      most.perDestination = Math.max(
        most.perDestination,
        highest((item) => item.to),
      );
      most.perLink = Math.max(
        most.perLink,
        highest((item) => `${rack.get(item.from)} ${rack.get(item.to)}`),
      );
      most.total = Math.max(most.total, now.length);
    }
    for (const key of ["perSource", "perDestination", "perLink", "total"] as const)
      if (most[key] > limits[key])
        throw new Error(`${most[key]} migrations at once, ${key} is ${limits[key]}`);
    return most;
  }
}
