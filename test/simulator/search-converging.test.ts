// Checks G1 to G6 in every order of events, with rules of a convergence policy that become due.

import { expect, test } from "vitest";
import type { ConvergencePolicy } from "../../src/protocol/convergence/policy.js";
import { World } from "../../src/simulator/world.js";
import { playUntil, takeNamed } from "./playing.js";
import { searchAll } from "./searched.js";

const convergence: ConvergencePolicy = [
  { when: { elapsedMs: 1 }, do: "suspend" },
  { when: { elapsedMs: 2 }, do: "abort" },
];

test("every order of events keeps the guarantees when a guest is suspended and its migration is then aborted", async () => {
  await searchAll("converging", { faults: 1, convergence });
});

test.each([false, true])(
  "every order of events keeps the guarantees with limits, a throttle and post-copy as measures, peer-to-peer: %s",
  async (peerToPeer) => {
    const policy: ConvergencePolicy = [
      { when: { elapsedMs: 1 }, do: { relaxDowntimeToMs: 1_000 } },
      { when: { elapsedMs: 1 }, do: "throttle" },
      { when: { elapsedMs: 2 }, do: "postcopy" },
    ];
    await searchAll("converging", { faults: 0, peerToPeer, convergence: policy });
  },
);

const isSending = ({ source }: World["state"]) => source.state.startsWith("precopying");

test("a guest that was suspended runs at the destination in the end", () => {
  const world = new World(0, { convergence: [{ when: { elapsedMs: 1 }, do: "suspend" }] });
  playUntil(world, isSending);
  takeNamed(world, "reports that a rule is due");
  takeNamed(world, "the source receives monitor.progressed");
  takeNamed(world, "source.suspend is done");
  expect(world.state.qemuS).toMatchObject({ cpu: "stopped", migration: "active" });
  world.settleDown();
  expect(world.state.qemuD).toMatchObject({ alive: true, cpu: "running" });
});

test("a guest that was suspended runs at the source in the end when its migration is aborted", () => {
  const world = new World(0, { convergence });
  playUntil(world, isSending);
  for (const measure of ["suspend", "abort"]) {
    takeNamed(world, "reports that a rule is due");
    takeNamed(world, "the source receives monitor.progressed");
    if (measure === "suspend") takeNamed(world, "source.suspend is done");
  }
  expect(world.state.source.state).toBe("cancelling");
  world.settleDown();
  expect(world.state.qemuS).toMatchObject({ alive: true, cpu: "running" });
  expect(world.state.coordinator.snapshot.output).toMatchObject({ kind: "stayed" });
});
