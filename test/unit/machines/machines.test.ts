// Checks G1, G3 and G5 on the machine definitions: every state, every event, every edge.

import { describe, expect, test } from "vitest";
import type { AnyStateMachine, AnyStateNode, StateValue } from "xstate";
import { coordinatorMachine } from "../../../src/machines/coordinator/machine.js";
import { destinationMachine } from "../../../src/machines/destination/machine.js";
import {
  edgesOf,
  isLeaf,
  isPassing,
  metaOf,
  namedStatesOf,
  nameOf,
  nodesOf,
  overviewOf,
  pathOf,
  stateName,
  statesOf,
  tagsOf,
  topOf,
} from "../../../src/machines/shared/walk.js";
import { sourceMachine } from "../../../src/machines/source/machine.js";
import { phaseMayFollow, phases } from "../../../src/protocol/job-phases.js";
import { isPeerQuestion, questionTable } from "../../../src/protocol/questions.js";

const sourceEvents = [
  "coordinator.performRequested",
  "coordinator.confirmRequested",
  "coordinator.confirmCancelledRequested",
  "operator.aborted",
  "operator.tuned",
  "operator.suspended",
  "operator.postcopyRequested",
  "operator.adopted",
  "operator.released",
  "monitor.stopped",
  "monitor.suspended",
  "monitor.diskFailed",
  "monitor.mirrored",
  "monitor.mirrorFailed",
  "monitor.resumed",
  "monitor.progressed",
  "monitor.preSwitchover",
  "monitor.postcopy",
  "monitor.postcopyPaused",
  "monitor.completed",
  "monitor.cancelled",
  "monitor.failed",
  "process.exited",
  "policy.postcopyDue",
];
const destinationEvents = [
  "coordinator.finishRequested",
  "coordinator.finishCancelledRequested",
  "source.settleRequested",
  "source.conceded",
  "source.announced",
  "source.handedOver",
  "source.reconnectRequested",
  "operator.destroyed",
  "monitor.active",
  "monitor.postcopy",
  "monitor.postcopyPaused",
  "monitor.completed",
  "monitor.failed",
  "monitor.resumed",
  "monitor.stopped",
  "process.exited",
];
const machines: [string, AnyStateMachine, string[]][] = [
  ["source", sourceMachine, sourceEvents],
  ["destination", destinationMachine, destinationEvents],
  ["coordinator", coordinatorMachine, ["operator.aborted"]],
];

/** Older engines have written these states; a restarted engine continues from them. */
const inStoriesOfVersion3 = {
  source:
    "probing beginning awaitingExit begun mirroring starting precopying pausing completingMirrors switchingOver handingOver serving reconnecting probingPostcopy settlingFailedPostcopy killingFailedPostcopy handedOver settling conceding killing cancelling rescuing restoring cancellingMirrors retractingPostcopy reportingLoss reportingStuck left stayed lost stuck".split(
      " ",
    ),
  destination:
    "probing preparing listening receiving completing receivingPostcopy postcopyReady awaitingDevices received claiming disclaiming taking resuming checkingMemory fetchingPages orphaned refusing killingUnrecorded killing arrived refused lost stuck killFailed".split(
      " ",
    ),
};

describe.each(machines)("the %s's machine", (_, machine, events) => {
  const leaves = statesOf(machine).filter(isLeaf);

  test("declares in every state how it treats every event", () => {
    const silent = leaves
      .filter((leaf) => !isPassing(leaf))
      .flatMap((leaf) =>
        events
          .filter((event) => !pathOf(leaf).some((node) => node.ownEvents.includes(event)))
          .map((event) => `${nameOf(leaf)} says nothing about ${event}`),
      );
    expect(silent).toEqual([]);
  });

  test("has no events except those of its table", () => {
    const known = [machine.root, ...statesOf(machine)].flatMap((node) => node.ownEvents);
    const strange = known.filter((event) => !event.startsWith("xstate.") && !events.includes(event));
    expect(strange).toEqual([]);
  });

  test("leaves every waiting state in time: by a timer, or by an effect with a deadline (G5)", () => {
    const isTimed = (node: AnyStateNode): boolean =>
      node.after.length > 0 || node.invoke.length > 0 || node.always !== undefined;
    const isTimedBelow = (node: AnyStateNode): boolean =>
      isTimed(node) ||
      (Object.values(node.states).length > 0 && Object.values(node.states).every(isTimedBelow));
    const timeless = leaves.filter((leaf) => {
      const path = pathOf(leaf).filter((node) => node !== machine.root);
      // One of the parallel regions is enough.
      const beside = path
        .filter((node) => node.type === "parallel")
        .flatMap((node) => Object.values(node.states));
      return ![...path, ...beside].some(
        (node) => isTimed(node) || (beside.includes(node) && isTimedBelow(node)),
      );
    });
    expect(timeless.map(nameOf)).toEqual([]);
  });

  test("can reach an end from every state", () => {
    const edges = edgesOf(machine);
    const ends = new Set(
      statesOf(machine)
        .filter((state) => state.type === "final")
        .map(topOf),
    );
    const reaching = new Set(ends);
    for (let before = -1; before !== reaching.size; ) {
      before = reaching.size;
      for (const { from, target } of edges) if (reaching.has(topOf(target))) reaching.add(topOf(from));
    }
    expect(
      statesOf(machine)
        .map(topOf)
        .filter((text) => !reaching.has(text)),
    ).toEqual([]);
  });

  test("never decreases libvirt's job phase", () => {
    const backwards = edgesOf(machine).filter(({ from, target }) => {
      const [a, b] = [metaOf(from).phase, metaOf(target).phase];
      return a !== undefined && b !== undefined && !phaseMayFollow(a, b);
    });
    expect(
      backwards.map(({ from, event, target }) => `${nameOf(from)} --${event}--> ${nameOf(target)}`),
    ).toEqual([]);
  });
});

describe("the point of no return", () => {
  const past = statesOf(sourceMachine)
    .filter((state) => tagsOf(state).includes("pointOfNoReturn"))
    .map(nameOf);
  const isPast = (name: string) => past.includes(name.split(".")[0] ?? "");

  test("is a state, and handedOver is one", () => {
    expect(past).toContain("handedOver");
  });

  test("is left for the source's own guest only when the destination has refused, or an operator decides (G1, G3)", () => {
    const harmless = ["left", "lost", "stuck"];
    const back = edgesOf(sourceMachine).filter(
      ({ from, target }) =>
        isPast(nameOf(from)) && !isPast(nameOf(target)) && !harmless.includes(topOf(target)),
    );
    const guardOf = new Map(
      back.map(({ from, event, target, guard }) => [
        `${nameOf(from)} --${event}--> ${nameOf(target)}`,
        guard as (value: unknown) => boolean,
      ]),
    );
    expect([...guardOf.keys()].toSorted()).toEqual([
      "handingOver --operator.adopted--> cancelling",
      "handingOver.asking --xstate.done.actor.handOver--> cancelling",
      "settling --operator.adopted--> restoring",
      "settling --xstate.after.patience.source.handover.settling--> restoring",
      "settling.asking --xstate.done.actor.settle--> restoring",
      "settling.fencing --xstate.done.actor.fence--> restoring",
      "settlingFailedPostcopy --operator.adopted--> restoring",
      "settlingFailedPostcopy.asking --xstate.done.actor.settle--> restoring",
    ]);
    // This is the policy that an operator has explicitly chosen, unsafe.
    expect(guardOf.get("settling --xstate.after.patience.source.handover.settling--> restoring")).toEqual({
      type: "policyIs",
      params: "resume",
    });
    const refusals = ["settling", "settlingFailedPostcopy"].map(
      (state) => `${state}.asking --xstate.done.actor.settle--> restoring`,
    );
    const handOver = "handingOver.asking --xstate.done.actor.handOver--> cancelling";
    const settled = [...refusals, handOver].map((refusal) => guardOf.get(refusal));
    const fenced = guardOf.get("settling.fencing --xstate.done.actor.fence--> restoring");
    const answered = (output: object) => ({ event: { output } });
    for (const guard of settled) {
      expect(guard?.(answered({ kind: "done", value: "refused" }))).toBe(true);
      expect(guard?.(answered({ kind: "done", value: "taken" }))).toBe(false);
    }
    expect(fenced?.(answered({ kind: "done", value: null }))).toBe(true);
    for (const kind of ["failed", "unknown"]) {
      for (const guard of settled) expect(guard?.(answered({ kind, cause: { message: "" } }))).toBe(false);
      expect(fenced?.(answered({ kind, cause: { message: "" } }))).toBe(false);
    }
  });

  test("lets the source be killed only after the destination has taken the guest, or an operator decides (G3)", () => {
    const towardsKill = edgesOf(sourceMachine).filter(
      ({ from, target }) => topOf(target) === "killing" && topOf(from) !== "killing",
    );
    expect(towardsKill.map(({ from, event }) => `${nameOf(from)} --${event}`).toSorted()).toEqual([
      "handedOver --coordinator.confirmRequested",
      "handingOver --operator.released",
      "reconnecting.asking --xstate.done.actor.reconnect",
      // Post-copy has lost its connection, and the destination already has all of the memory.
      "rehydrating --",
      "settling --coordinator.confirmRequested",
      "settling --operator.released",
      "settling.asking --xstate.done.actor.settle",
      // The state before the engine was restarted.
      "settlingFailedPostcopy --operator.released",
    ]);
  });

  test("is not passed by the death of a QEMU that a restarted source has not queried: its guest may have run on (G4)", () => {
    const ends = edgesOf(sourceMachine).filter(
      ({ from, event }) => topOf(from) === "probing" && event === "process.exited",
    );
    expect(ends.map(({ target }) => topOf(target))).toEqual(["reportingLoss"]);
  });

  test("lets a source in post-copy be ended only after the destination has taken the guest (G3)", () => {
    const abandons = edgesOf(sourceMachine).filter(
      ({ from, target }) =>
        topOf(target) === "killingFailedPostcopy" && topOf(from) !== "killingFailedPostcopy",
    );
    expect(abandons.map(({ from, event }) => `${nameOf(from)} --${event}`).toSorted()).toEqual([
      "rehydrating --",
      "settlingFailedPostcopy.asking --xstate.done.actor.settle",
    ]);
    const settled = abandons.find(({ from }) => topOf(from) === "settlingFailedPostcopy")?.guard as (
      value: unknown,
    ) => boolean;
    expect(settled({ event: { output: { kind: "done", value: "taken" } } })).toBe(true);
    expect(settled({ event: { output: { kind: "done", value: "refused" } } })).toBe(false);
  });

  test("is reported as refused only when the refusal is durable, or the copy is gone", () => {
    const aloud = statesOf(destinationMachine).filter(
      (state) => tagsOf(state).includes("refused") && nameOf(state) === topOf(state),
    );
    expect(aloud.map(nameOf).toSorted()).toEqual(["killFailed", "killing", "refused"]);
    const towards = edgesOf(destinationMachine).filter(
      ({ from, target }) => topOf(target) === "killing" && topOf(from) !== "killing",
    );
    expect(towards.map(({ from, event }) => `${nameOf(from)} --${event}`).toSorted()).toEqual([
      "refusing.trying --xstate.done.actor.recordRefusal",
      // The state before the engine was restarted.
      "rehydrating --",
    ]);
  });

  test("cannot be revoked at the destination once it has refused", () => {
    const edges = edgesOf(destinationMachine).filter(({ from }) =>
      ["refusing", "killingUnrecorded", "killing"].includes(topOf(from)),
    );
    const elsewhere = edges.map(({ target }) => topOf(target));
    expect(new Set(elsewhere)).toEqual(
      new Set(["refusing", "killingUnrecorded", "killing", "refused", "killFailed", "stuck"]),
    );
  });
});

test("job phases have libvirt's numbers", () => {
  expect(phases).toMatchObject({
    begin3: 2,
    perform3: 3,
    perform3_done: 4,
    confirm3_cancelled: 5,
    confirm3: 6,
    prepare: 7,
    finish3: 9,
  });
});

describe("the groups of a machine", () => {
  test.each([
    [sourceMachine, 25],
    [destinationMachine, 15],
  ])("leave the top level of the $id readable", (machine, most) => {
    expect(overviewOf(machine).length).toBeLessThanOrEqual(most);
  });

  test.each([sourceMachine, destinationMachine, coordinatorMachine])(
    "are not part of the recorded names of the $id: each name stands for one state",
    (machine) => {
      const names = nodesOf(machine).map(nameOf);
      expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
      for (const node of statesOf(machine).filter(isLeaf)) {
        const above = node.path.slice(0, -1);
        const value = above.reduceRight<StateValue>((inner, key) => ({ [key]: inner }), node.key);
        expect(stateName({ value, machine })).toBe(nameOf(node));
      }
    },
  );
});

test("a story of version 3 can be read: each state name that it can contain is known", () => {
  expect(namedStatesOf(sourceMachine).map(nameOf)).toEqual(
    expect.arrayContaining(inStoriesOfVersion3.source),
  );
  expect(namedStatesOf(destinationMachine).map(nameOf)).toEqual(
    expect.arrayContaining(inStoriesOfVersion3.destination),
  );
});

test("every query from one side to another becomes an event of the queried side", () => {
  const known = { source: sourceEvents, destination: destinationEvents };
  const strange = Object.values(questionTable).filter(
    ({ to, event }) => event !== null && !known[to].includes(event),
  );
  expect(strange).toEqual([]);
  const asked = [sourceMachine, coordinatorMachine]
    .flatMap((machine) => nodesOf(machine).flatMap((node) => node.invoke.map(({ id }) => id)))
    .filter(isPeerQuestion);
  expect(new Set(asked)).toEqual(new Set(Object.keys(questionTable)));
});

test("a restarted engine continues in the recorded state, except where it queries QEMU or repeats an effect", () => {
  const elsewhere = (machine: AnyStateMachine) =>
    namedStatesOf(machine)
      .map((state) => [state.key, metaOf(state).rehydratesAs ?? state.key] as const)
      .filter(([recorded, goesOnIn]) => recorded !== goesOnIn)
      .map(([recorded, goesOnIn]) => `${recorded}: ${goesOnIn}`);
  expect(elsewhere(sourceMachine).toSorted()).toEqual([
    "awaitingExit: beginning",
    "completingMirrors: probing",
    "handingOver: probingPostcopy",
    "pausing: probing",
    "precopying: probing",
    "reconnecting: probingPostcopy",
    "rescuing: cancelling",
    "serving: probingPostcopy",
    "starting: probing",
    "switchingOver: probing",
  ]);
  expect(elsewhere(destinationMachine).toSorted()).toEqual([
    "awaitingDevices: probing",
    "checkingMemory: resuming",
    "completing: probing",
    "killingUnrecorded: refusing",
    "listening: probing",
    "postcopyReady: probing",
    "preparing: refusing",
    "received: probing",
    "receiving: probing",
    "receivingPostcopy: probing",
    "taking: resuming",
  ]);
});
