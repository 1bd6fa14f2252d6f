// A simulated fleet: hosts, guests and their migrations in simulated time, with faults from a seed. It knows the true state
// and reports broken rules: a guest that runs twice or nowhere, two migrations of one guest at once, a limit that is exceeded.

import type { Clock } from "../../src/effects/ports.js";
import { type DrainLimits, linkOf, type Move, type MoveEnd } from "../../src/fleet/drain.js";
import type { Fleet, FleetGuest, FleetHost } from "../../src/fleet/fleet.js";
import type { Mover } from "../../src/fleet/run-drain.js";
import { admits } from "../../src/protocol/fencing-token.js";

const GiB = 2 ** 30;

/** xorshift32; deterministic for a seed. */
export function dice(seed: number): (below: number) => number {
  let state = (seed * 2_654_435_761) >>> 0 || 1;
  return (below) => {
    state ^= (state << 13) >>> 0;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= (state << 5) >>> 0;
    state >>>= 0;
    return state % below;
  };
}

/** Racks of 20 hosts, guests of 1 to 16 GiB spread over them; a third of the memory is used. */
export function fleetOf(hosts: number, guests: number, seed = 1): Fleet {
  const roll = dice(seed);
  const own = Array.from({ length: guests }, (_, index) => ({ memoryBytes: (1 << roll(5)) * GiB, index }));
  const all: FleetHost[] = Array.from({ length: hosts }, (_, index) => ({
    name: `h${String(index).padStart(4, "0")}`,
    memoryBytes: Math.ceil((own.reduce((sum, guest) => sum + guest.memoryBytes, 0) / hosts) * 3),
    cpus: Math.ceil((guests / hosts) * 4),
    labels: { rack: `r${Math.floor(index / 20)}`, zone: `z${index % 3}` },
  }));
  return {
    hosts: all,
    guests: own.map(({ memoryBytes, index }): FleetGuest => {
      const host = all[index % hosts]?.name ?? "";
      const group = index % 7 === 0 ? `g${Math.floor(index / 7 / 3)}` : null;
      return {
        uuid: `u${String(index).padStart(6, "0")}`,
        name: `guest-${index}`,
        host,
        memoryBytes,
        cpus: 1,
        group,
        priority: roll(3),
      };
    }),
  };
}

export interface Faults {
  /** The number of a thousand migrations that end where they began. */
  readonly stay?: number;
  /** The number of a thousand requests that are received but not answered. */
  readonly mute?: number;
}

interface Running {
  readonly move: Move;
  readonly ended: Promise<{ end: MoveEnd; why: string }>;
  abort(): void;
}

export class SimulatedFleet {
  readonly fleet: Fleet;
  nowMs = 0;
  /** The rules that were broken. */
  readonly broken: string[] = [];
  /** The highest number of migrations at once. */
  readonly most = { source: 0, destination: 0, link: 0, total: 0 };
  begun = 0;
  readonly #at = new Map<string, string>();
  readonly #highest = new Map<string, number>();
  readonly #moves = new Map<string, Running>();
  readonly #underWay = new Map<string, Move>();
  readonly #hosts: ReadonlyMap<string, FleetHost>;
  readonly #guests: ReadonlyMap<string, FleetGuest>;
  readonly #timers: { atMs: number; run: () => void }[] = [];
  readonly #roll: (below: number) => number;
  readonly #faults: Faults;

  constructor(fleet: Fleet, seed: number, faults: Faults = {}) {
    this.fleet = fleet;
    this.#roll = dice(seed);
    this.#faults = faults;
    this.#hosts = new Map(fleet.hosts.map((host) => [host.name, host]));
    this.#guests = new Map(fleet.guests.map((guest) => [guest.uuid, guest]));
    for (const guest of fleet.guests) this.#at.set(guest.uuid, guest.host);
  }

  readonly clock: Clock = {
    now: () => this.nowMs,
    setTimeout: (run, ms) => {
      const timer = { atMs: this.nowMs + ms, run };
      // In order of time, and of insertion for equal times.
      let [low, high] = [0, this.#timers.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if ((this.#timers[middle]?.atMs ?? 0) <= timer.atMs) low = middle + 1;
        else high = middle;
      }
      this.#timers.splice(low, 0, timer);
      return timer;
    },
    clearTimeout: (timer) => {
      const index = this.#timers.indexOf(timer as { atMs: number; run: () => void });
      if (index >= 0) this.#timers.splice(index, 1);
    },
  };

  random = (): string => Array.from({ length: 18 }, () => this.#roll(16).toString(16)).join("");

  /** Advances time until `isDone`, or until no event is left. */
  async run(isDone: () => boolean, each: () => void = () => {}): Promise<void> {
    for (;;) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (isDone()) return;
      const next = this.#timers.shift();
      if (next === undefined) return;
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.run();
      each();
    }
  }

  where = (guest: string): string | undefined => this.#at.get(guest);

  readonly mover: Mover = {
    move: async (move, signal) => {
      const running = this.#moves.get(move.migrationId) ?? this.#begin(move);
      const ended = await running.ended;
      if (signal.aborted) throw new Error("the caller has gone");
      if (this.#roll(1000) < (this.#faults.mute ?? 0)) throw new Error("the answer was lost");
      return ended;
    },
    abort: async ({ migrationId }) => this.#moves.get(migrationId)?.abort(),
  };

  #begin(move: Move): Running {
    const { guest, migrationId, token, from, to } = move;
    const over = (end: MoveEnd, why: string): Running => {
      const running = { move, ended: Promise.resolve({ end, why }), abort: () => {} };
      this.#moves.set(migrationId, running);
      return running;
    };
    const highest = this.#highest.get(guest) ?? null;
    if (!admits(highest, migrationId)) return over("stayed", "an older orchestrator's migration is refused");
    if (this.#at.get(guest) !== from) return over("away", "the guest is not here");
    if (this.#underWay.has(guest)) return over("stayed", "the guest is being migrated already");
    this.#highest.set(guest, token);
    this.begun += 1;
    this.#underWay.set(guest, move);
    this.#count();
    let end: (how: { end: MoveEnd; why: string }) => void = () => {};
    const ended = new Promise<{ end: MoveEnd; why: string }>((resolve) => {
      end = resolve;
    });
    const finish = (how: MoveEnd, why: string) => {
      if (this.#underWay.get(guest) !== move) return;
      this.#underWay.delete(guest);
      if (how === "arrived") this.#at.set(guest, to);
      end({ end: how, why });
    };
    const stays = this.#roll(1000) < (this.#faults.stay ?? 0);
    const memoryBytes = this.#guests.get(guest)?.memoryBytes ?? 0;
    // A gibibyte per second, and some seconds of overhead.
    const ms = Math.round((memoryBytes / GiB) * 1000) + 500 + this.#roll(2000);
    this.clock.setTimeout(() => (stays ? finish("stayed", "the stream broke") : finish("arrived", "")), ms);
    const running = { move, ended, abort: () => finish("stayed", "aborted by the operator") };
    this.#moves.set(migrationId, running);
    return running;
  }

  #count(): void {
    const counts = {
      source: new Map<string, number>(),
      destination: new Map<string, number>(),
      link: new Map<string, number>(),
    };
    const add = (of: Map<string, number>, key: string) => of.set(key, (of.get(key) ?? 0) + 1);
    for (const { from, to } of this.#underWay.values()) {
      const [here, there] = [this.#hosts.get(from), this.#hosts.get(to)];
      add(counts.source, from);
      add(counts.destination, to);
      if (here !== undefined && there !== undefined) add(counts.link, linkOf(here, there));
    }
    for (const key of ["source", "destination", "link"] as const)
      this.most[key] = Math.max(this.most[key], ...counts[key].values());
    this.most.total = Math.max(this.most.total, this.#underWay.size);
  }

  /** Checks that no host exceeds its memory, or received two guests of one anti-affinity group. */
  check(limits: DrainLimits | null): string[] {
    const used = new Map<string, number>();
    for (const [guest, host] of this.#at)
      used.set(host, (used.get(host) ?? 0) + (this.#guests.get(guest)?.memoryBytes ?? 0));
    const over = [...used].filter(([host, bytes]) => bytes > (this.#hosts.get(host)?.memoryBytes ?? 0));
    const { most } = this;
    return [
      ...this.broken,
      ...over.map(([host]) => `${host} carries more than it has`),
      ...(this.#at.size === this.fleet.guests.length ? [] : ["a guest is nowhere"]),
      ...(limits === null
        ? []
        : [
            ...(most.source > limits.perSource ? [`${most.source} left one source at once`] : []),
            ...(most.destination > limits.perDestination
              ? [`${most.destination} came to one host at once`]
              : []),
            ...(most.link > limits.perLink ? [`${most.link} were on one link at once`] : []),
            ...(most.total > limits.total ? [`${most.total} were under way at once`] : []),
          ]),
    ];
  }
}
