// Checks G1 to G6 in the simulated world: libvirt's weak points by name, and seeded plays that are shrunk when one fails.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { World, type WorldOptions } from "../../src/simulator/world.js";
import { play, playUntil, takeNamed } from "./playing.js";
import { shown } from "./shown.js";

const runs = Number(process.env["SWITCHOVER_RUNS"] ?? 10_000);
const picks = fc.array(fc.nat(20_159), { maxLength: 80, size: "max" });

const atSource = { qemuS: { alive: true, cpu: "running" }, qemuD: { alive: false } };
const atDestination = { qemuS: { alive: false }, qemuD: { alive: true, cpu: "running" } };

describe("libvirt's weak places end well here", () => {
  test("Finish's reply lost after `cont`: the source settles and ends its copy, one copy runs", () => {
    const world = new World(9);
    playUntil(world, ({ qemuD }) => qemuD.everRan);
    while (world.state.coordinator.state.startsWith("finishing")) {
      if (world.state.coordinator.effects.has("askFinish"))
        takeNamed(world, "askFinish: no answer comes in time");
      else takeNamed(world, "coordinator: the timer");
    }
    world.settleDown();
    expect(world.state).toMatchObject(atDestination);
  });

  test("the coordinator dies after Perform: the source settles, the destination refuses, the source resumes", () => {
    const world = new World(9);
    playUntil(world, ({ source }) => source.state === "handedOver");
    takeNamed(world, "the client dies");
    world.settleDown();
    expect(world.state).toMatchObject(atSource);
  });

  test("the coordinator dies after Finish was sent: the destination runs, the source ends its copy", () => {
    const world = new World(9);
    playUntil(world, ({ destination }) => destination?.state === "taking.asking");
    takeNamed(world, "the client dies");
    world.settleDown();
    expect(world.state).toMatchObject(atDestination);
  });

  test("the link drops everything: the watchdog aborts, the source resumes", () => {
    const world = new World(9);
    playUntil(world, ({ source }) => source.state.startsWith("precopying"));
    takeNamed(world, "source: the timer xstate.after.stall");
    world.settleDown();
    expect(world.state).toMatchObject(atSource);
  });

  test("the source's daemon dies after Perform: the restarted daemon settles by itself, and one copy runs", () => {
    const world = new World(9);
    playUntil(world, ({ source }) => source.state === "handedOver");
    takeNamed(world, "the client dies");
    takeNamed(world, "the source's engine is killed");
    world.settleDown();
    expect(world.state).toMatchObject(atSource);
  });

  test("the destination's daemon dies after Perform: the restarted daemon finds its QEMU and takes the guest", () => {
    const world = new World(9);
    playUntil(world, ({ qemuD }) => qemuD.stream === "whole");
    while (world.state.destination?.state !== "received") takeNamed(world, "the destination receives");
    takeNamed(world, "the destination's engine is killed");
    world.settleDown();
    expect(world.state).toMatchObject(atDestination);
  });

  test("the destination's daemon dies right after `cont`: the guest that runs there is kept", () => {
    const world = new World(9);
    playUntil(world, ({ destination }) => destination?.state === "taking.asking");
    takeNamed(world, "the destination's engine is killed right after take");
    world.settleDown();
    expect(world.state).toMatchObject(atDestination);
  });

  test("peer-to-peer, the source's daemon dies after Finish: the source is not resumed", () => {
    const world = new World(9, { peerToPeer: true });
    playUntil(world, ({ qemuD }) => qemuD.everRan);
    takeNamed(world, "the source's engine is killed");
    world.settleDown();
    expect(world.state).toMatchObject(atDestination);
  });

  test("both daemons die at the switchover: the guest runs once", () => {
    const world = new World(9);
    playUntil(world, ({ source }) => source.state === "handedOver");
    for (const side of ["source", "destination"]) takeNamed(world, `the ${side}'s engine is killed`);
    world.settleDown();
    expect(world.state).toMatchObject(atDestination);
  });

  test.each(["completed", "device"])(
    "the source's QEMU dies with its migration %s and the destination whole: the destination takes the guest",
    (migration) => {
      const world = new World(9);
      playUntil(world, ({ qemuS, qemuD }) => qemuD.stream === "whole" && qemuS.migration === migration);
      takeNamed(world, "the source's QEMU dies");
      while (world.state.qemuS.facts.length > 0) takeNamed(world, "the source receives");
      world.settleDown();
      expect(world.state.qemuD.cpu).toBe("running");
      expect(world.state.coordinator.snapshot.output).toMatchObject({ kind: "arrived" });
    },
  );
});

test("a source whose QEMU dies before the guest is described reports lost, not stayed", () => {
  const world = new World(9);
  takeNamed(world, "the source's QEMU dies");
  takeNamed(world, "source.describe is done");
  world.settleDown();
  expect(world.state.source.state).toBe("lost");
  expect(world.state.coordinator.snapshot.output).toMatchObject({ kind: "lost" });
});

test("an unreachable destination is fenced off, and the guest resumes at the source", () => {
  const world = new World(9, { policy: { whenUnreachable: "fence", patienceMs: 1 } });
  playUntil(world, ({ source }) => source.state === "handedOver");
  takeNamed(world, "the client dies");
  takeNamed(world, "source: the timer xstate.after.confirm");
  takeNamed(world, "source: the timer xstate.after.patience");
  takeNamed(world, "source.fence is done");
  takeNamed(world, "source.restore is done");
  expect(world.state).toMatchObject({
    fence: "gone",
    source: { state: "stayed" },
    qemuS: { cpu: "running" },
  });
  world.settleDown();
  expect(world.state).toMatchObject(atSource);
});

describe("under failed, lost, repeated and late messages, deaths and restarts", () => {
  test("a migration without faults arrives", () => {
    const world = play(0, []);
    expect(world.state).toMatchObject(atDestination);
    expect(world.state.coordinator.snapshot.output).toMatchObject({ kind: "arrived" });
  });

  const worlds: [string, WorldOptions][] = [
    ["managed", {}],
    ["peer-to-peer", { peerToPeer: true }],
    ["fenced", { policy: { whenUnreachable: "fence", patienceMs: 1 } }],
    ["with copied disks and post-copy", { storage: true, postcopy: true }],
    ["peer-to-peer with post-copy", { peerToPeer: true, postcopy: true }],
    [
      "converging",
      {
        convergence: [
          { when: { elapsedMs: 1 }, do: "suspend" },
          { when: { elapsedMs: 2 }, do: "abort" },
        ],
      },
    ],
  ];
  test.each(
    worlds.flatMap(([name, options]) => [1, 2, 4, 8].map((faults) => [name, faults, options] as const)),
  )("%s, with %i faults never two copies run, and one runs in the end (G1 to G6)", (_, faults, options) => {
    const property = fc.property(picks, (chosen) => void play(faults, chosen, options));
    shown(() => fc.assert(property, { numRuns: runs }));
  });
});
