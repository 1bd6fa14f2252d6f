// Drains of the simulated fleet: every guest runs once; limits hold; the conductor may die at any moment.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type DrainRequest, defaultDrainLimits, type GuestStory } from "../../../src/fleet/drain.js";
import { type Fleet, selectHosts } from "../../../src/fleet/fleet.js";
import { MemoryEngine } from "../../../src/fleet/memory-engine.js";
import { type Conducted, type ConductOptions, conduct, EngineError } from "../../../src/fleet/run-drain.js";
import { admits, highestToken, idWithToken, tokenIn } from "../../../src/protocol/fencing-token.js";
import { dice, type Faults, fleetOf, SimulatedFleet } from "../../support/simulated-fleet.js";

const limits = defaultDrainLimits;
const wishOf = (fleet: Fleet, more: Partial<DrainRequest> = {}): DrainRequest => ({
  sources: selectHosts(fleet, ["rack:r0"]).slice(0, 5),
  limits,
  attempts: 4,
  deadlineMs: null,
  ...more,
});

interface Run {
  readonly simulated: SimulatedFleet;
  readonly report: { readonly guests: readonly GuestStory[] };
  readonly engine: MemoryEngine;
}

/** `crashes`: how often the conductor dies, at seeded moments, and another one continues. */
async function drained(
  fleet: Fleet,
  seed: number,
  faults: Faults = {},
  crashes = 0,
  more: Partial<DrainRequest> = {},
): Promise<Run> {
  const simulated = new SimulatedFleet(fleet, seed, faults);
  const engine = new MemoryEngine();
  const { clock, mover, random } = simulated;
  const roll = dice(seed + 1);
  let guests: readonly GuestStory[] | undefined;
  let conducted: Conducted | undefined;
  const takeOver = () => {
    conducted = conduct({ begun: begunWith(fleet, more), engine: engine.open(), mover, clock, random });
    conducted.ended.then(
      (changed) => {
        guests = changed;
      },
      () => {},
    );
  };
  takeOver();
  for (let crash = 0; crash < crashes; crash += 1)
    clock.setTimeout(() => {
      // A dead conductor returns nothing; a slow one finds that the drain belongs to another.
      if (roll(2) === 0) conducted?.detach();
      takeOver();
    }, roll(30_000));
  await simulated.run(() => guests !== undefined);
  if (guests === undefined) throw new Error("the drain has not ended");
  return { simulated, report: { guests }, engine };
}

const begunWith =
  (fleet: Fleet, more: Partial<DrainRequest> = {}): ConductOptions["begun"] =>
  async () => ({ kind: "begun", atMs: 0, wish: wishOf(fleet, more), fleet });

const small = fleetOf(40, 400);

describe("a drain", () => {
  test("empties its hosts within the limits, and every guest runs once", async () => {
    const { simulated, report } = await drained(small, 1);
    expect(simulated.check(limits)).toEqual([]);
    expect(report.guests).toHaveLength(50);
    expect(report.guests.map((guest) => guest.status)).toEqual(report.guests.map(() => "arrived"));
    for (const { guest, at } of report.guests) expect(simulated.where(guest.uuid)).toBe(at);
    expect(simulated.most.total, "they go at once").toBeGreaterThan(5);
  });

  test("tries another destination, and leaves a guest where it is after its attempts", async () => {
    const { simulated, report } = await drained(small, 2, { stay: 500 });
    expect(simulated.check(limits)).toEqual([]);
    const again = report.guests.filter((guest) => guest.moves.length > 1);
    expect(again.length).toBeGreaterThan(5);
    for (const { moves } of again) expect(new Set(moves.map((move) => move.to)).size).toBe(moves.length);
    for (const { guest, status, at, why } of report.guests) {
      expect(simulated.where(guest.uuid)).toBe(at);
      if (status === "given up") expect(why).toBe("the stream broke");
    }
  });

  test.each([1, 2, 3, 4, 5, 6, 7, 8])(
    "is continued by others when its conductor dies or is slow, seed %i",
    async (seed) => {
      const { simulated, report, engine } = await drained(small, seed, { stay: 100, mute: 100 }, 6);
      expect(simulated.check(limits)).toEqual([]);
      for (const { guest, at } of report.guests) expect(simulated.where(guest.uuid)).toBe(at);
      const planned = engine.events.flatMap((event) => (event.kind === "planned" ? [event.move.token] : []));
      expect(planned, "tokens grow").toEqual(planned.toSorted((a, b) => a - b));
      expect(new Set(planned).size).toBe(planned.length);
    },
  );

  test("keeps groups apart and takes the most urgent first", async () => {
    const { report, engine } = await drained(small, 3, {}, 0, { limits: { ...limits, perSource: 1 } });
    const moves = engine.events.flatMap((event) => (event.kind === "planned" ? [event.move] : []));
    const [source] = moves.map((move) => move.from);
    const priorities = moves
      .filter((move) => move.from === source)
      .map((move) => report.guests.find(({ guest }) => guest.uuid === move.guest)?.guest.priority ?? 0);
    expect(priorities).toEqual(priorities.toSorted((a, b) => b - a));
    const there = new Map<string, string[]>();
    for (const { guest, at, status } of report.guests)
      if (guest.group !== null && status === "arrived")
        there.set(`${at} ${guest.group}`, [...(there.get(`${at} ${guest.group}`) ?? []), guest.uuid]);
    for (const [, guests] of there) expect(guests).toHaveLength(1);
  });

  test("reports guests that fit on no host", async () => {
    const tight = { ...small, hosts: small.hosts.map((host) => ({ ...host, memoryBytes: 1 })) };
    const { report } = await drained(tight, 4);
    expect(new Set(report.guests.map((guest) => `${guest.status}: ${guest.why}`))).toEqual(
      new Set(["given up: no host has room for it"]),
    );
  });

  test("begins no move after its deadline; moves that are under way arrive", async () => {
    const { simulated, report } = await drained(small, 5, {}, 0, { deadlineMs: 5_000 });
    expect(simulated.check(limits)).toEqual([]);
    const stands = new Set(report.guests.map((guest) => guest.status));
    expect(stands).toEqual(new Set(["arrived", "given up"]));
    expect(report.guests.find((guest) => guest.status === "given up")?.why).toBe("the deadline has passed");
  });

  test("can be paused, resumed and cancelled: moves that are under way are undone", async () => {
    const simulated = new SimulatedFleet(small, 6);
    const { clock, mover, random } = simulated;
    const engine = new MemoryEngine().open();
    const conducted = conduct({ begun: begunWith(small), engine, mover, clock, random });
    let guests: readonly GuestStory[] | undefined;
    void conducted.ended.then((changed) => {
      guests = changed;
    });
    clock.setTimeout(() => void conducted.pause(), 4_000);
    let atPause = 0;
    clock.setTimeout(() => {
      atPause = simulated.begun;
    }, 5_000);
    clock.setTimeout(() => {
      expect(simulated.begun, "none begins in a pause").toBe(atPause);
      void conducted.resume();
    }, 60_000);
    clock.setTimeout(() => void conducted.cancel(), 64_000);
    await simulated.run(() => guests !== undefined);
    expect(simulated.begun).toBeGreaterThan(atPause);
    const whys = new Set(guests?.filter((guest) => guest.status === "given up").map((guest) => guest.why));
    expect(whys).toContain("the drain was cancelled");
    expect(simulated.check(limits)).toEqual([]);
  });

  test("does not move a guest twice at once, and loses none, with two conductors over an engine without fencing", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(10_000), async (seed) => {
        const simulated = new SimulatedFleet(small, seed, { stay: 100, mute: 100 });
        const { clock, mover, random } = simulated;
        const engine = new MemoryEngine();
        const both = [0, 1].map(() =>
          conduct({ begun: begunWith(small), engine: engine.open({ isFence: false }), mover, clock, random }),
        );
        let over = 0;
        for (const conducted of both) void conducted.ended.then(() => (over += 1));
        await simulated.run(() => over === both.length);
        expect(over, "both come to the same end").toBe(2);
        expect(simulated.check(null)).toEqual([]);
      }),
      { numRuns: 20 },
    );
  });

  test("reports to its callers when its conductor leaves it, records nothing of that, and can be continued", async () => {
    const simulated = new SimulatedFleet(small, 7);
    const { clock, mover, random } = simulated;
    const engine = new MemoryEngine();
    const begin = () => conduct({ begun: begunWith(small), engine: engine.open(), mover, clock, random });
    const first = begin();
    clock.setTimeout(() => first.detach(), 4_000);
    let left: unknown;
    first.ended.catch((error: unknown) => {
      left = error;
    });
    await simulated.run(() => left !== undefined);
    expect(left).toBeInstanceOf(EngineError);
    const recorded = engine.events.length;
    await new Promise((resolve) => setImmediate(resolve));
    expect(engine.events).toHaveLength(recorded);
    let guests: readonly GuestStory[] = [];
    void begin().ended.then((changed) => {
      guests = changed;
    });
    await simulated.run(() => guests.length > 0);
    expect(simulated.check(limits)).toEqual([]);
    expect(new Set(guests.map((guest) => guest.status))).toEqual(new Set(["arrived"]));
  });

  test("of unknown hosts is refused with their names", () => {
    expect(() => selectHosts(small, ["rack:r9"])).toThrow('"rack:r9" matches no host');
    expect(selectHosts(small, ["h0001", "rack:r0"])).toHaveLength(20);
  });
});

describe("a migration id", () => {
  test("carries its token, and is a uuid", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: highestToken }), fc.nat(2 ** 31), (token, seed) => {
        const roll = dice(seed);
        const id = idWithToken(token, Array.from({ length: 18 }, () => roll(16).toString(16)).join(""));
        expect(id).toMatch(/^[\da-f]{8}-[\da-f]{4}-8[\da-f]{3}-8[\da-f]{3}-[\da-f]{12}$/);
        expect(tokenIn(id)).toBe(token);
        expect(admits(token, id) && admits(token - 1, id) && admits(null, id)).toBe(true);
        if (token < highestToken) expect(admits(token + 1, id)).toBe(false);
      }),
    );
  });

  test("that a host created itself carries no token, and is accepted", () => {
    expect(tokenIn("5f0b7a52-3c1e-4d2a-9b1c-0a1b2c3d4e5f")).toBeNull();
    expect(admits(7, "5f0b7a52-3c1e-4d2a-9b1c-0a1b2c3d4e5f")).toBe(true);
  });
});
