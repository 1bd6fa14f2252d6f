// Checks G1 and G2 when the sides cannot reach each other: on a real etcd, and in real migrations with the link down.

import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { etcdFence, fenceByProof } from "../../../../src/drivers/fencing/etcd.js";
import { systemClock } from "../../../../src/drivers/platform/clock.js";
import type { EffectInterceptor } from "../../../../src/effects/bind.js";
import type { Clock, Fence } from "../../../../src/effects/ports.js";
import { migrateWith } from "../../../../src/library/local/migrate.js";
import { unknown } from "../../../../src/protocol/effect-result.js";
import { type Etcd, startEtcd } from "../../../support/etcd.js";
import { inLab } from "../../../support/proof-guests.js";

let etcd: Etcd;
beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(() => etcd.end());

const fenceHere = (): Fence => etcdFence({ endpoints: [etcd.endpoint] });
const { signal } = new AbortController();
const migration = () => ({ migrationId: randomUUID(), uuid: randomUUID(), name: "guest" });

async function offered(fence: Fence) {
  const identity = migration();
  const answer = await fence.offer(identity, signal);
  if (answer.kind !== "done") throw new Error(answer.cause.message);
  return { identity, token: answer.value };
}

describe("a fence in a real etcd", () => {
  test("gives the guest to the destination that claims it, and then the source cannot fence the destination off", async () => {
    const [source, destination] = [fenceHere(), fenceHere()];
    const guest = await offered(source);
    expect(await destination.claim(guest, signal)).toMatchObject({ kind: "done" });
    expect(await destination.claim(guest, signal), "asked again").toMatchObject({ kind: "done" });
    expect(await source.fence(guest, signal)).toMatchObject({ kind: "failed" });
    await source.release(guest);
    expect(await destination.claim(guest, signal), "an old claim").toMatchObject({ kind: "failed" });
  });

  test("gives the guest to the source that fences the destination off, and then it cannot be claimed", async () => {
    const [source, destination] = [fenceHere(), fenceHere()];
    const guest = await offered(source);
    expect(await source.fence(guest, signal)).toMatchObject({ kind: "done" });
    expect(await source.fence(guest, signal), "asked again").toMatchObject({ kind: "done" });
    expect(await destination.claim(guest, signal)).toMatchObject({ kind: "failed" });
  });

  test("gives the guest to exactly one side when both ask at once", async () => {
    const [source, destination] = [fenceHere(), fenceHere()];
    const winners = { source: 0, destination: 0 };
    for (let round = 0; round < 40; round += 1) {
      const guest = await offered(source);
      const asked = [() => source.fence(guest, signal), () => destination.claim(guest, signal)];
      const [first, second] = await Promise.all(
        (round % 2 === 0 ? asked : asked.toReversed()).map((ask) => ask()),
      );
      expect([first?.kind, second?.kind].toSorted()).toEqual(["done", "failed"]);
      const sourceFirst = round % 2 === 0;
      winners[(first?.kind === "done") === sourceFirst ? "source" : "destination"] += 1;
    }
    expect(winners.source).toBeGreaterThan(0);
    expect(winners.destination).toBeGreaterThan(0);
  });

  test("refuses a claim with the token of an older offer", async () => {
    const fence = fenceHere();
    const old = await offered(fence);
    await fence.offer(old.identity, signal);
    expect(await fence.claim(old, signal)).toMatchObject({ kind: "failed" });
    await fence.release(old);
  });

  test("returns a guest to the source when the destination disclaims it", async () => {
    const fence = fenceHere();
    const guest = await offered(fence);
    await fence.claim(guest, signal);
    expect(await fence.disclaim(guest, signal)).toMatchObject({ kind: "done" });
    expect(await fence.fence(guest, signal)).toMatchObject({ kind: "done" });
  });

  test("lets an offer expire when its engine is gone, and then it cannot be claimed", async () => {
    const fence = etcdFence({
      endpoints: [etcd.endpoint],
      leaseSeconds: 1,
      // An engine that does not keep its lease alive.
      clock: { now: Date.now, setTimeout: () => undefined, clearTimeout: () => {} },
    });
    const guest = await offered(fence);
    await expect.poll(async () => (await fence.claim({ ...guest, token: "1" }, signal)).kind).toBe("failed");
    await expect.poll(async () => (await fence.fence({ ...guest, token: "1" }, signal)).kind).toBe("done");
    expect(await fence.claim(guest, signal)).toMatchObject({ kind: "failed" });
  });

  test("answers unknown, never a decision, while etcd does not answer", async () => {
    const fence = fenceHere();
    const guest = await offered(fence);
    etcd.pause();
    const given = new AbortController();
    const asked = fence.claim(guest, given.signal);
    setTimeout(() => given.abort(), 200);
    expect(await asked).toMatchObject({ kind: "unknown" });
    etcd.goOn();
    const nobody = etcdFence({ endpoints: ["http://127.0.0.1:1", etcd.endpoint] });
    expect(await nobody.claim(guest, signal), "the second endpoint answers").toMatchObject({ kind: "done" });
    const wrong = etcdFence({ endpoints: ["http://127.0.0.1:1"] });
    expect(await wrong.fence(guest, signal)).toMatchObject({ kind: "unknown" });
  });
});

const policy = { whenUnreachable: "fence", patienceMs: 300 } as const;
const deadlines = { confirmMs: 200, finishMs: 2_500, backoffMs: 50, maxBackoffMs: 200 };

describe("a real migration whose destination cannot be reached", () => {
  test("resumes at the source when the fence has excluded the destination", async () => {
    await inLab({}, async (lab) => {
      const cut = new Set(["askFinish", "askFinishCancelled", "settle"]);
      const around: EffectInterceptor = (place, call) =>
        cut.has(place) ? Promise.resolve(unknown("the link is down")) : call();
      const { guest } = lab;
      if (guest === null) throw new Error("no guest was booted");
      const migration = migrateWith(
        {
          guest,
          policy,
          deadlines,
          fence: fenceHere(),
          destination: { sideArgs: lab.proof.nextSide("destination") },
        },
        around,
      );
      const outcome = await lab.ended(migration);
      expect(outcome).toMatchObject({ kind: "stayed", runs: "source" });
      expect(outcome.error?.failures.map((failure) => failure.message).join()).toContain(
        "the fence confirms",
      );
    });
  });

  test("leaves no key in the fence, and no timer, when the guest stays", async () => {
    await inLab({}, async (lab) => {
      const { guest } = lab;
      if (guest === null) throw new Error("no guest was booted");
      const timers = new Set<unknown>();
      const clock: Clock = {
        now: Date.now,
        setTimeout: (run, ms) => {
          const timer: unknown = systemClock.setTimeout(() => {
            timers.delete(timer);
            run();
          }, ms);
          timers.add(timer);
          return timer;
        },
        clearTimeout: (timer) => {
          timers.delete(timer);
          systemClock.clearTimeout(timer);
        },
      };
      const prefix = "stays/";
      const fence = etcdFence({ endpoints: [etcd.endpoint], prefix, clock });
      const migration = migrateWith({
        guest,
        fence,
        limits: { bandwidthMiBps: 8 },
        destination: { sideArgs: lab.proof.nextSide("destination") },
      });
      for await (const { progress } of migration.progress) if (progress !== null) break;
      expect(timers.size).toBeGreaterThan(0);
      expect(await etcd.keys(prefix)).toBe(1);
      await migration.abort();
      expect(await lab.ended(migration)).toMatchObject({ kind: "aborted" });
      await expect.poll(() => etcd.keys(prefix)).toBe(0);
      expect(timers.size).toBe(0);
    });
  });

  test("waits when the destination has claimed the guest, until it can be reached", async () => {
    await inLab({}, async (lab) => {
      let settles = 0;
      const states: string[] = [];
      const around: EffectInterceptor = async (place, call) => {
        if (place === "askFinish") {
          await call();
          return unknown("the answer was lost");
        }
        settles += place === "settle" ? 1 : 0;
        return place === "settle" && settles < 8 ? unknown("the link is down") : call();
      };
      const { guest } = lab;
      if (guest === null) throw new Error("no guest was booted");
      const migration = migrateWith(
        {
          guest,
          policy,
          deadlines,
          fence: fenceHere(),
          destination: { sideArgs: lab.proof.nextSide("destination") },
          observe: (seen) => {
            if (seen.kind === "state" && seen.side === "source") states.push(seen.state);
          },
        },
        around,
      );
      expect(await lab.ended(migration)).toMatchObject({ kind: "arrived", runs: "destination" });
      expect(states).toContain("settling.fencing");
      expect(states).not.toContain("restoring.trying");
    });
  });
});

test("is fenced off by an embedder's proof only when the destination is certainly dead", async () => {
  let dead = false;
  const fence = fenceByProof(async () => dead);
  const guest = await offered(fence);
  expect(await fence.fence(guest, signal)).toMatchObject({ kind: "failed" });
  dead = true;
  expect(await fence.fence(guest, signal)).toMatchObject({ kind: "done" });
});
