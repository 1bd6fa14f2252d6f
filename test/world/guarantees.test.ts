import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { search } from "../../src/testing/search.js";
import { World } from "../../src/testing/world.js";

/** Plays `picks` as choices, then lets everything settle; throws with the story when a guarantee is broken. */
function play(faults: number, picks: readonly number[]): World {
  const world = new World(faults);
  for (const pick of picks) {
    // Most picks go on as if all were well: a walk of faults alone would never get far.
    const all = world.choices();
    const calm = all.filter((it) => !it.fault && it.rare === undefined);
    const choices = pick % 10 === 0 || calm.length === 0 ? all : calm;
    const choice = choices[Math.floor(pick / 10) % Math.max(1, choices.length)];
    if (choice === undefined) break;
    world.take(choice);
  }
  world.settleDown();
  return world;
}

const runs = Number(process.env["SWITCHOVER_RUNS"] ?? 2000);
const picks = fc.array(fc.nat(20_159), { maxLength: 80, size: "max" });

/** Plays as if all were well until `reached`, without timers. */
function playUntil(world: World, reached: () => boolean): void {
  while (!reached()) {
    const choice = world.choices().find((it) => !it.fault && it.rare === undefined);
    if (choice === undefined) throw new Error(`never reached\n${world.story?.join("\n")}`);
    world.take(choice);
  }
}

function takeNamed(world: World, name: string): void {
  const choice = world.choices().find((it) => it.name === name);
  if (choice === undefined) throw new Error(`nobody can choose "${name}"\n${world.story?.join("\n")}`);
  world.take(choice);
}

describe("libvirt's weak places end well here", () => {
  test("Finish's reply lost after `cont`: the source settles and lets go, one copy runs", () => {
    const world = new World(9);
    playUntil(world, () => world.qemuD.everRan);
    while (world.coordinator.state.startsWith("finishing")) {
      if (world.coordinator.has("askFinish"))
        takeNamed(world, "coordinator.askFinish: no answer comes in time");
      for (const timer of [...world.coordinator.timers]) world.fire(world.coordinator, timer);
    }
    world.settleDown();
    expect(world.qemuD.cpu).toBe("running");
    expect(world.qemuS.alive).toBe(false);
  });

  test("the coordinator dies after Perform: the source settles, the destination refuses, the source runs on", () => {
    const world = new World(9);
    playUntil(world, () => world.source.state === "handedOver");
    world.killCoordinator();
    world.settleDown();
    expect(world.qemuS).toMatchObject({ alive: true, cpu: "running" });
    expect(world.qemuD.alive).toBe(false);
  });

  test("the coordinator dies after Finish was sent: the destination runs, the source lets go", () => {
    const world = new World(9);
    playUntil(world, () => world.destination?.state === "taking.asking");
    world.killCoordinator();
    world.settleDown();
    expect(world.qemuD.cpu).toBe("running");
    expect(world.qemuS.alive).toBe(false);
  });

  test.each(["completed", "device"])(
    "the source's QEMU dies with its migration %s and the destination whole: the guest is saved",
    (migration) => {
      const world = new World(9);
      playUntil(world, () => world.qemuD.stream === "whole" && world.qemuS.migration === migration);
      takeNamed(world, "the source's QEMU dies");
      for (const { type } of [...world.qemuS.facts]) takeNamed(world, `the source hears ${type}`);
      world.settleDown();
      expect(world.qemuD.cpu).toBe("running");
      expect(world.coordinator.snapshot.output).toMatchObject({ kind: "arrived" });
    },
  );
});

test("a source whose QEMU dies before it is described says lost, not stayed", () => {
  const world = new World(9);
  takeNamed(world, "the source's QEMU dies");
  takeNamed(world, "source.describe is done");
  world.settleDown();
  expect(world.source.state).toBe("lost");
  expect(world.coordinator.snapshot.output).toMatchObject({ kind: "lost" });
});

describe("whatever fails, is lost, repeated, late or dies", () => {
  test("a migration without faults arrives", () => {
    const world = play(0, []);
    expect(world.qemuD.everRan).toBe(true);
    expect(world.qemuS.alive).toBe(false);
    expect(world.coordinator.snapshot.output).toMatchObject({ kind: "arrived" });
  });

  test.each([0, 1, 2, 4, 8])(
    "with %i faults there are never two running, never none for good (G1, G2, G3, G5, G6)",
    (faults) => {
      fc.assert(
        fc.property(picks, (chosen) => void play(faults, chosen)),
        { numRuns: runs },
      );
    },
  );
});

describe("every order of everything that can happen", () => {
  test.each([0, 1, 2])(
    "with up to %i faults keeps the guarantees, and can still end well from every state",
    (faults) => {
      const startedMs = performance.now();
      const { states, transitions, ends, whole } = search({ faults });
      const perSecond = Math.round((1000 * states) / (performance.now() - startedMs));
      console.log(
        `${faults} faults: ${states} states, ${transitions} steps, ${ends} ends, ${perSecond} states/s`,
      );
      expect(whole).toBe(true);
      expect(ends).toBeGreaterThan(10);
    },
    180_000,
  );
});
