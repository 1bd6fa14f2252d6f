// Event-sourced drain planner: from the event log it derives the next migrations. It has no I/O and no clock. The caller makes
// each event durable before it acts on it, so that another process can resume the drain.

import type { MigrateFlag, MigrateParameters } from "../drivers/libvirt/client/flags.js";
import { type Fleet, type FleetGuest, type FleetHost, HostLoad } from "./fleet.js";
import { mayTake, type Placement, spread } from "./placement.js";

/** Maximum numbers of concurrent migrations. */
export interface DrainLimits {
  readonly perSource: number;
  readonly perDestination: number;
  /** Between two racks, or two hosts: see `linkOf`. */
  readonly perLink: number;
  readonly total: number;
}
export const defaultDrainLimits: DrainLimits = { perSource: 2, perDestination: 2, perLink: 8, total: 32 };

/** The options of each migration, in addition to LIVE and PEER2PEER. */
export interface DrainHow {
  readonly flags: readonly MigrateFlag[];
  readonly parameters: MigrateParameters;
}
/** Each guest is migrated with its definition. */
export const defaultMigrationOptions: DrainHow = {
  flags: ["PERSIST_DEST", "UNDEFINE_SOURCE"],
  parameters: {},
};

export interface DrainRequest {
  readonly sources: readonly string[];
  readonly limits: DrainLimits;
  /** Number of destinations tried before a guest is given up. */
  readonly attempts: number;
  /** No migration begins after this time, in milliseconds since 1970. */
  readonly deadlineMs: number | null;
  /** Default: `defaultMigrationOptions`. */
  readonly how?: DrainHow;
}

export interface Move {
  /** The fencing token, which grows over all drains. */
  readonly token: number;
  readonly migrationId: string;
  readonly guest: string;
  readonly from: string;
  readonly to: string;
}

/** `away`: the guest was no longer at its source. */
export type MoveEnd = "arrived" | "stayed" | "lost" | "away";

export type DrainEvent =
  | { readonly kind: "begun"; readonly atMs: number; readonly wish: DrainRequest; readonly fleet: Fleet }
  | { readonly kind: "planned"; readonly atMs: number; readonly move: Move }
  | {
      readonly kind: "ended";
      readonly atMs: number;
      readonly token: number;
      readonly end: MoveEnd;
      readonly why: string;
    }
  | { readonly kind: "paused" | "resumed" | "cancelled"; readonly atMs: number }
  /** No migration is under way, and none can begin any more. */
  | { readonly kind: "closed"; readonly atMs: number };

export type Mode = "running" | "paused" | "cancelled" | "closed";

export interface GuestStory {
  readonly guest: FleetGuest;
  /** `given up`: the guest stays where it is, after the last attempt or because no host can take it. */
  readonly status: "waiting" | "moving" | "arrived" | "lost" | "given up" | "away";
  readonly at: string;
  readonly moves: readonly (Move & { readonly end: MoveEnd | null; readonly why: string })[];
  readonly why: string;
}

/** A move to begin, which has no token yet. */
export type Wanted = Omit<Move, "token" | "migrationId">;

/** Returns the link between two hosts: their racks, or the hosts themselves where they have no rack label. */
export const linkOf = (from: FleetHost, to: FleetHost): string =>
  `${from.labels["rack"] ?? from.name} ${to.labels["rack"] ?? to.name}`;

type Story = { -readonly [K in keyof GuestStory]: GuestStory[K] } & { moves: GuestStory["moves"][number][] };

export class Drain {
  readonly wish: DrainRequest;
  mode: Mode = "running";
  readonly #hosts = new Map<string, HostLoad>();
  readonly #leaving: ReadonlySet<string>;
  readonly #stories = new Map<string, Story>();
  /** Waiting guests by source, in the order in which they are migrated. */
  readonly #waiting = new Map<string, Story[]>();
  readonly #underWay = new Map<number, Move>();
  readonly #counts = {
    source: new Map<string, number>(),
    destination: new Map<string, number>(),
    link: new Map<string, number>(),
  };
  /** Guests that no host has room for; cleared when room becomes free. */
  readonly #noRoom = new Set<string>();

  /** Takes the first event; `apply` takes the others. */
  constructor({ wish, fleet }: Extract<DrainEvent, { kind: "begun" }>) {
    this.wish = wish;
    this.#leaving = new Set(wish.sources);
    for (const host of fleet.hosts) this.#hosts.set(host.name, new HostLoad(host));
    for (const guest of fleet.guests) {
      this.#hosts.get(guest.host)?.add(guest);
      if (!this.#leaving.has(guest.host)) continue;
      const story: Story = { guest, status: "waiting", at: guest.host, moves: [], why: "" };
      this.#stories.set(guest.uuid, story);
      const queue = this.#waiting.get(guest.host) ?? [];
      queue.push(story);
      this.#waiting.set(guest.host, queue);
    }
    for (const queue of this.#waiting.values()) queue.sort(byUrgency);
  }

  get stories(): readonly GuestStory[] {
    return [...this.#stories.values()];
  }
  get underWay(): readonly Move[] {
    return [...this.#underWay.values()];
  }

  apply(event: DrainEvent): void {
    switch (event.kind) {
      case "begun":
        throw new Error("bug: a drain can begin only once");
      case "planned":
        this.#begin(event.move);
        break;
      case "ended":
        this.#end(event);
        break;
      case "paused":
        if (this.mode === "running") this.mode = "paused";
        break;
      case "resumed":
        if (this.mode === "paused") this.mode = "running";
        break;
      case "cancelled":
        this.mode = "cancelled";
        break;
      case "closed":
        this.#giveUp(event.atMs);
    }
  }

  /** Returns the moves to begin now: within the limits, most urgent first, each to the host that `placement` chooses. */
  wanted(nowMs: number, placement: Placement = spread, maxMoves = Number.POSITIVE_INFINITY): Wanted[] {
    const { limits, deadlineMs, sources } = this.wish;
    if (this.mode !== "running" || (deadlineMs !== null && nowMs >= deadlineMs)) return [];
    const wanted: Wanted[] = [];
    // Applied provisionally, so that two moves do not take the same place.
    const pretended: Move[] = [];
    // Round robin, so that no source waits for another.
    const open = new Set(sources.filter((source) => (this.#waiting.get(source)?.length ?? 0) > 0));
    const isFull = () => this.#underWay.size >= limits.total || wanted.length >= maxMoves;
    while (open.size > 0 && !isFull())
      for (const source of open) {
        if (isFull()) break;
        const move = this.#next(source, placement);
        if (move === null) {
          open.delete(source);
          continue;
        }
        wanted.push(move);
        const pretend = { ...move, token: -1 - pretended.length, migrationId: "" };
        pretended.push(pretend);
        this.#begin(pretend);
      }
    for (const move of pretended.toReversed()) this.#takeBack(move);
    return wanted;
  }

  #giveUp(nowMs: number): void {
    const { deadlineMs } = this.wish;
    const why =
      this.mode === "cancelled"
        ? "the drain was cancelled"
        : deadlineMs !== null && nowMs >= deadlineMs
          ? "the deadline has passed"
          : "no host has room for it";
    for (const story of this.#stories.values())
      if (story.status === "waiting") Object.assign(story, { status: "given up", why: story.why || why });
    this.mode = "closed";
  }

  #next(source: string, placement: Placement): Wanted | null {
    const { limits } = this.wish;
    if ((this.#counts.source.get(source) ?? 0) >= limits.perSource) return null;
    const from = this.#hosts.get(source)?.host;
    if (from === undefined) return null;
    for (const { guest, moves } of this.#waiting.get(source) ?? []) {
      if (this.#noRoom.has(guest.uuid)) continue;
      const tried = new Set(moves.map((move) => move.to));
      let isRoom = false;
      const candidates: HostLoad[] = [];
      for (const load of this.#hosts.values()) {
        const { name } = load.host;
        if (this.#leaving.has(name) || tried.has(name) || !mayTake(guest, load)) continue;
        isRoom = true;
        const isBusy =
          (this.#counts.destination.get(name) ?? 0) >= limits.perDestination ||
          (this.#counts.link.get(linkOf(from, load.host)) ?? 0) >= limits.perLink;
        if (!isBusy) candidates.push(load);
      }
      if (!isRoom) this.#noRoom.add(guest.uuid);
      const to = candidates.length === 0 ? null : placement(guest, candidates);
      if (to !== null) return { guest: guest.uuid, from: source, to };
    }
    return null;
  }

  #count(move: Wanted, by: 1 | -1): void {
    const [from, to] = [this.#hosts.get(move.from), this.#hosts.get(move.to)];
    const { source, destination, link } = this.#counts;
    const add = (counts: Map<string, number>, key: string) => counts.set(key, (counts.get(key) ?? 0) + by);
    add(source, move.from);
    add(destination, move.to);
    if (from !== undefined && to !== undefined) add(link, linkOf(from.host, to.host));
  }

  #begin(move: Move): void {
    const story = this.#stories.get(move.guest);
    if (story === undefined) throw new Error(`guest ${move.guest} is not part of this drain`);
    const queue = this.#waiting.get(move.from) ?? [];
    queue.splice(queue.indexOf(story), 1);
    story.status = "moving";
    story.moves.push({ ...move, end: null, why: "" });
    this.#underWay.set(move.token, move);
    this.#hosts.get(move.to)?.add(story.guest);
    this.#count(move, 1);
  }

  #takeBack(move: Move): void {
    const story = this.#stories.get(move.guest);
    if (story === undefined) return;
    story.moves.pop();
    story.status = "waiting";
    this.#underWay.delete(move.token);
    this.#hosts.get(move.to)?.remove(story.guest);
    this.#count(move, -1);
    this.#wait(move.from, story);
  }

  #wait(source: string, story: Story): void {
    const queue = this.#waiting.get(source) ?? [];
    const at = queue.findIndex((queued) => byUrgency(story, queued) < 0);
    queue.splice(at === -1 ? queue.length : at, 0, story);
    this.#waiting.set(source, queue);
  }

  #end({ token, end, why }: Extract<DrainEvent, { kind: "ended" }>): void {
    const move = this.#underWay.get(token);
    const story = move && this.#stories.get(move.guest);
    // A superseded process may report the same end twice.
    if (move === undefined || story === undefined) return;
    this.#underWay.delete(token);
    this.#count(move, -1);
    const [from, to] = [this.#hosts.get(move.from), this.#hosts.get(move.to)];
    story.moves[story.moves.length - 1] = { ...move, end, why };
    story.why = why;
    // Some host may have room again.
    this.#noRoom.clear();
    if (end === "arrived") {
      Object.assign(story, { status: "arrived", at: move.to, why: "" });
      from?.remove(story.guest);
      return;
    }
    to?.remove(story.guest);
    if (end === "stayed" && story.moves.length < this.wish.attempts) {
      story.status = "waiting";
      this.#wait(move.from, story);
      return;
    }
    story.status = end === "stayed" ? "given up" : end;
    if (end !== "stayed") from?.remove(story.guest);
  }
}

/** Sorts by priority, then largest first, because large guests are the hardest to place. */
const byUrgency = (a: GuestStory, b: GuestStory): number =>
  b.guest.priority - a.guest.priority ||
  b.guest.memoryBytes - a.guest.memoryBytes ||
  (a.guest.uuid < b.guest.uuid ? -1 : 1);
