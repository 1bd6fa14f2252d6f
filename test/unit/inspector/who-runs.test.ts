// Compares the inspector's conclusions from a story with the simulated world, which knows the true state: who runs the guest,
// which messages the parties exchanged, and whether the guarantees hold.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Guarantees } from "../../../src/inspector/story/guarantees.js";
import { Exchange, fateOf } from "../../../src/inspector/story/message-sequence.js";
import { type Entry, Timeline } from "../../../src/inspector/story/moment.js";
import { whoRuns } from "../../../src/inspector/story/who-runs.js";
import { destinationMachine } from "../../../src/machines/destination/machine.js";
import { metaOf, namedStatesOf, nameOf } from "../../../src/machines/shared/walk.js";
import { sourceMachine } from "../../../src/machines/source/machine.js";
import { defaultPolicy } from "../../../src/protocol/unreachable-policy.js";
import { ToldWorld } from "../../../src/simulator/traced-world.js";
import type { WorldOptions } from "../../../src/simulator/world.js";

const worlds: readonly WorldOptions[] = [
  {},
  { peerToPeer: true },
  { storage: true, postcopy: true },
  { policy: { ...defaultPolicy, whenUnreachable: "fence" } },
];

function walk(faults: number, picks: readonly number[], options: WorldOptions): ToldWorld {
  const told = new ToldWorld(faults, options);
  for (const pick of picks) {
    const moves = told.moves();
    expect(new Set(moves.map((move) => move.name)).size, "a move is known by its name").toBe(moves.length);
    const move = moves[pick % Math.max(1, moves.length)];
    if (move === undefined) break;
    told.take(move);
  }
  return told;
}

/** Plays to the end, without more faults. */
function settle(told: ToldWorld): void {
  const fired = new Map<string, number>();
  for (let turn = 0; turn < 1000; turn += 1) {
    const fair = told.moves().filter((step) => !step.fault && step.rare !== "operator");
    const turns = (step: { name: string }) => fired.get(step.name) ?? 0;
    const move =
      fair.find((step) => step.rare === undefined) ?? fair.toSorted((a, b) => turns(a) - turns(b))[0];
    if (move === undefined) return;
    if (move.rare !== undefined) fired.set(move.name, turns(move) + 1);
    told.take(move);
  }
}

const saidAt = (timeline: Timeline) => {
  const { sides, guestWas } = timeline.at(timeline.entries.length);
  return whoRuns({
    source: sides.source?.state ?? null,
    destination: sides.destination?.state ?? null,
    guestWas,
  });
};

const picks = fc.array(fc.nat(20_159), { maxLength: 80, size: "max" });

describe("every state of the machines", () => {
  test.each([sourceMachine, destinationMachine])("of the $id declares who runs the guest", (machine) => {
    const silent = namedStatesOf(machine).filter((state) => metaOf(state).guest === undefined);
    expect(silent.map(nameOf)).toEqual([]);
  });
});

describe.each(worlds)("a world with %j", (options) => {
  test("the page never names the wrong side as running the guest, and names the right one at the end", () => {
    fc.assert(
      fc.property(fc.nat(2), picks, (faults, chosen) => {
        const told = walk(faults, chosen, options);
        const timeline = new Timeline(told.entries);
        const { qemuS, qemuD } = told.world.state;
        const runsHere = qemuS.alive && qemuS.cpu === "running";
        const runsThere = qemuD.alive && qemuD.cpu === "running";
        const { runs } = saidAt(timeline);
        if (runs === "source") expect(runsThere, "it runs at the destination").toBe(false);
        if (runs === "destination") expect(runsHere, "it runs at the source").toBe(false);

        settle(told);
        const { state } = told.world;
        // A machine that has ended no longer receives a death.
        if (state.qemuDied) return;
        const really = {
          source: state.qemuS.alive && state.qemuS.cpu === "running",
          destination: state.qemuD.alive && state.qemuD.cpu === "running",
        };
        const end = saidAt(new Timeline(told.entries));
        if (end.runs === "source" || end.runs === "destination")
          expect(really[end.runs], end.says).toBe(true);
        else expect(really, end.says).toEqual({ source: false, destination: false });
      }),
      { numRuns: 300 },
    );
  });

  test("no guarantee is reported as broken, and each open one is closed at the end", () => {
    fc.assert(
      fc.property(fc.nat(2), picks, (faults, chosen) => {
        const told = walk(faults, chosen, options);
        settle(told);
        const timeline = new Timeline();
        const guarantees = new Guarantees();
        for (const entry of told.entries) {
          timeline.push(entry);
          guarantees.push(entry, timeline.at(timeline.entries.length));
        }
        const end = timeline.at(timeline.entries.length);
        const verdicts = guarantees.verdicts(end);
        expect(verdicts.filter((verdict) => verdict.holds === "no")).toEqual([]);
        const clientDied = told.world.state.coordinatorDied;
        if (!clientDied) expect(verdicts.filter((verdict) => verdict.holds === "open")).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });

  test("messages derived from the records equal those derived from the calls", () => {
    fc.assert(
      fc.property(picks, (chosen) => {
        const told = walk(0, chosen, options);
        const [all, records] = [new Exchange(), new Exchange()];
        for (const entry of told.entries) {
          all.push(entry);
          if (entry.kind === "opened" || entry.kind === "state") records.push(entry);
        }
        const short = (exchange: Exchange) =>
          exchange.messages
            .filter((message) => message.from === "coordinator")
            .map((message) => message.says);
        expect(short(records)).toEqual(short(all));
        expect(
          all.messages.filter((message) => fateOf(message) === "lost" || fateOf(message) === "answer lost"),
        ).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });
});

test.each([
  ["settlingFailedPostcopy.asking", "settle"],
  ["reportingLoss.asking", "retractPostcopy"],
  ["reportingStuck.asking", "retractPostcopy"],
  [
    "precopying(convergence.watching, limits.applied, watchdog.watching, postcopy.announcing)",
    "announcePostcopy",
  ],
])("a source in %s is shown to ask", (state, question) => {
  const exchange = new Exchange();
  const at = { migrationId: "m", atMs: 0, because: [], undone: [], learned: {}, event: "x" };
  exchange.push({ kind: "state", ...at, side: "source", state });
  expect(exchange.messages.map((message) => message.question)).toEqual([question]);
});

test("the answer to a query that was repeated without a record is shown", () => {
  const exchange = new Exchange();
  const at = { migrationId: "m", atMs: 0, because: [], undone: [], learned: {} };
  const answered = "xstate.done.actor.settle";
  const told = [
    ["settling.asking", "coordinator.confirmCancelledRequested"],
    ["settling.waiting", answered],
    ["killing.trying", answered],
  ] as const;
  for (const [state, event] of told) exchange.push({ kind: "state", ...at, side: "source", state, event });
  expect(exchange.messages.map(({ question, answer }) => [question, answer])).toEqual([
    ["settle", "unknown"],
    ["settle", "done"],
  ]);
});

test("an abort that the coordinator sends to the source is shown beside its Perform", () => {
  const exchange = new Exchange();
  const at = { migrationId: "m", atMs: 0, because: [], undone: [], learned: {}, event: "x" };
  exchange.push({ kind: "state", ...at, side: "coordinator", state: "performing.moving" });
  exchange.push({ kind: "state", ...at, side: "coordinator", state: "performing.aborting" });
  expect(exchange.messages.map((message) => message.question)).toEqual(["askPerform", "askAbort"]);
  expect(exchange.messages.map((message) => fateOf(message))).toEqual(["asked", "asked"]);
});

test("the failures in a simulated story are its own, whatever was played before", () => {
  const story = (name: string) => {
    const told = new ToldWorld(1, {});
    for (;;) {
      const calm = told.moves().filter((step) => !step.fault && step.rare === undefined);
      const move = told.moves().find((fault) => fault.name === name) ?? calm[0];
      if (move === undefined) break;
      told.take(move);
    }
    return told.entries
      .flatMap((entry) => (entry.kind === "state" ? entry.because : []))
      .map((failure) => failure.code);
  };
  const unanswered = story("source.start never happens, no answer");
  expect(story("source.start fails")).not.toContain("unanswered");
  expect(unanswered).toContain("unanswered");
  expect(story("source.start never happens, no answer")).toEqual(unanswered);
});

describe("a broken guarantee is detected when", () => {
  const at = { migrationId: "m", atMs: 0, because: [], undone: [], learned: {}, event: "" };
  const state = (side: "source" | "destination", name: string): Entry => ({
    kind: "state",
    ...at,
    side,
    state: name,
  });
  const verdictsOf = (...entries: readonly Entry[]) => {
    const timeline = new Timeline();
    const guarantees = new Guarantees();
    for (const entry of entries) {
      timeline.push(entry);
      guarantees.push(entry, timeline.at(timeline.entries.length));
    }
    const end = timeline.at(timeline.entries.length);
    return guarantees.verdicts(end).filter((verdict) => verdict.holds === "no");
  };

  test("two copies run", () => {
    const broken = verdictsOf(state("source", "precopying"), state("destination", "arrived"));
    expect(broken).toContainEqual(expect.objectContaining({ name: "G1", at: 1 }));
  });

  test("the source runs after the destination has", () => {
    const broken = verdictsOf(
      ...[state("source", "handedOver"), state("destination", "arrived"), state("destination", "lost")],
      state("source", "cancellingMirrors"),
    );
    expect(broken).toContainEqual(expect.objectContaining({ name: "G3", at: 3 }));
  });

  test("the source is ended before the destination has taken the guest", () => {
    const broken = verdictsOf(state("destination", "received"), state("source", "killing"));
    expect(broken).toContainEqual(expect.objectContaining({ name: "G3", at: 1 }));
  });

  test("no side runs the guest, and no QEMU has died", () => {
    const broken = verdictsOf(state("source", "left"), state("destination", "refused"));
    expect(broken).toContainEqual(expect.objectContaining({ name: "G2" }));
  });

  test("a guest has stayed without a reason", () => {
    expect(verdictsOf(state("source", "stayed"))).toContainEqual(expect.objectContaining({ name: "G7" }));
  });
});
