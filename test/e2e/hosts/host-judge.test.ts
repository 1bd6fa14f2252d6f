// Tests the checkers of the sweep between hosts: they find each bad ending that is created on purpose, and an operator's
// command excuses only its own effect.

import { execFileSync, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { CopiesWatch } from "../../support/copies-watch.js";
import { type Allowed, type Ending, Endings } from "../../support/host-endings.js";
import { inTwoHosts, type ProofDomainOptions, type TwoHosts } from "../../support/host-process.js";
import { ways } from "../../support/host-ways.js";
import { testLimitMs } from "../../support/patience.js";
import { commandLine } from "../../support/qemus-of.js";
import { StepByStep } from "../../support/step-by-step.js";
import { until } from "../../support/until.js";

const { procedures } = remote;

/** Creates a situation on purpose; `judged` resolves to the judge's verdict, or rejects with it. */
async function inSituation(
  wish: ProofDomainOptions,
  make: (
    lab: TwoHosts,
    judged: (allowed?: Partial<Allowed>, maxMs?: number) => Promise<Ending>,
    watch: CopiesWatch,
  ) => Promise<void>,
): Promise<void> {
  await inTwoHosts({ guest: wish }, async (lab) => {
    const watch = new CopiesWatch(lab.guest);
    const opened: Endings[] = [];
    const judged = (allowed: Partial<Allowed> = {}, maxMs = 3_000) => {
      const endings = new Endings(lab.guest, lab.hosts, maxMs);
      opened.push(endings);
      return endings.judge(watch, { note: "made on purpose", ...allowed });
    };
    try {
      await make(lab, judged, watch);
    } finally {
      watch.end();
      for (const endings of opened) await endings.close();
      for (const host of Object.values(lab.hosts)) host.takeSaid();
    }
  });
}

/** Starts another QEMU with the command line of the guest's, which writes to its own serial file. */
async function startByHand(lab: TwoHosts, words: readonly string[] = []): Promise<void> {
  // Registers the serial file's name with the guest.
  lab.guest.xml("b");
  const { directory } = lab.hosts.a;
  const [pid] = lab.guest.pids();
  const [command = "", ...rest] = commandLine(`${pid}`).filter((word) => word !== "");
  const elsewhere = rest.map((word) =>
    word.replace("a.serial", "b.serial").replaceAll(join(directory, "run"), join(directory, "by-hand")),
  );
  mkdirSync(join(directory, "by-hand", `guest-${lab.guest.uuid}`), { recursive: true });
  const pipe = elsewhere.find((word) => word.startsWith("pipe,"))?.split("path=")[1];
  if (pipe !== undefined) execFileSync("mkfifo", [`${pipe}.in`, `${pipe}.out`]);
  spawn(command, [...elsewhere, ...words], { stdio: "ignore" });
  await until(() => lab.guest.pids().length === 2);
}

describe("the judge of the sweep finds two copies", { timeout: testLimitMs }, () => {
  test("when a second QEMU of the guest is started by hand, even after an accepted destroy", async () => {
    await inSituation({}, async (lab, judged, watch) => {
      await startByHand(lab);
      await until(() => watch.two !== undefined);
      for (const ended of [false, true])
        await expect(judged({ ended })).rejects.toMatchObject({ kind: "two" });
    });
  });

  // The restarted source then settles and kills its copy: the final state looks healthy.
  test("when the source's copy is resumed by hand after the handover, although one copy is left in the end", async () => {
    await inSituation({ watched: true }, async (lab, judged, watch) => {
      const steps = await StepByStep.through("perform", lab);
      await lab.hosts.a.kill();
      await steps.finish();
      await lab.guest.counts("b");
      await lab.guest.asked("a", (monitor) => monitor.execute("cont", {}));
      await until(() => watch.two !== undefined);
      expect(lab.guest.discontinuity(false)).toMatchObject({ isRepeated: true });
      await lab.hosts.a.start();
      expect(await lab.settles()).toBe("b");
      await expect(judged()).rejects.toMatchObject({ kind: "two" });
      // The count alone also shows the second copy, without an observer.
      const unseen = new CopiesWatch(lab.guest);
      unseen.end();
      const endings = new Endings(lab.guest, lab.hosts);
      await expect(endings.judge(unseen, { note: "" })).rejects.toMatchObject({ kind: "two" });
      await endings.close();
    });
  });
});

describe("the judge of the sweep finds remains", { timeout: testLimitMs }, () => {
  test("when a second QEMU of the guest is left paused", async () => {
    await inSituation({}, async (lab, judged) => {
      await startByHand(lab, ["-S"]);
      await expect(judged({ ended: true })).rejects.toMatchObject({ kind: "left over" });
    });
  });

  test("when a directory of a QEMU is left", async () => {
    await inSituation({}, async (lab, judged) => {
      mkdirSync(join(lab.hosts.b.directory, "run", "in-of-nothing"));
      await expect(judged()).rejects.toMatchObject({ kind: "left over" });
    });
  });
});

describe("the judge of the sweep finds a guest that is stuck", { timeout: testLimitMs }, () => {
  test("when it is paused and no command paused it", async () => {
    await inSituation({}, async (lab, judged) => {
      const a = await lab.rpc("a");
      await a.call(procedures.domainSuspend, { dom: lab.dom });
      await expect(judged()).rejects.toMatchObject({ kind: "stuck" });
      expect(await judged({ suspended: true })).toMatchObject({ kind: "one", at: "a" });
    });
  });

  test("when a job does not end, and when a host does not answer", async () => {
    await inSituation({}, async (lab, judged) => {
      await StepByStep.through("prepare", lab);
      await expect(judged({}, 1_000)).rejects.toMatchObject({ kind: "stuck", message: /with a job/ });
      await lab.hosts.b.kill();
      await expect(judged({}, 1_000)).rejects.toMatchObject({ kind: "stuck", message: /does not answer/ });
    });
  });
});

test("the judge of the sweep reports a guest that no host has as lost, unless a destroy was accepted", {
  timeout: testLimitMs,
}, async () => {
  await inSituation({}, async (lab, judged) => {
    for (const pid of lab.guest.pids()) process.kill(pid, "SIGKILL");
    await until(() => lab.guest.pids().length === 0);
    await expect(judged()).rejects.toMatchObject({ kind: "lost" });
    expect(await judged({ ended: true })).toMatchObject({ kind: "ended" });
  });
});

test("the judge of the sweep reports a guest that was lost in post-copy as lost, unless a destroy was accepted", {
  timeout: testLimitMs,
}, async () => {
  const { guest, begin } = ways["in post-copy"];
  await inSituation(guest, async (lab, judged) => {
    const { ended } = await begin(lab, "b");
    const a = await lab.rpc("a");
    await a.call(procedures.domainDestroy, { dom: lab.dom });
    await ended;
    await expect(judged()).rejects.toMatchObject({ kind: "lost", message: /lost in post-copy/ });
    expect(await judged({ ended: true })).toMatchObject({ kind: "ended" });
  });
});

test("the judge of the sweep finds a definition that two hosts start", { timeout: testLimitMs }, async () => {
  await inSituation({}, async (lab, judged) => {
    const [a, b] = [await lab.rpc("a"), await lab.rpc("b")];
    await a.call(procedures.domainDestroy, { dom: lab.dom });
    await b.call(procedures.domainDefineXml, { xml: lab.guest.xml("b") });
    await expect(judged({ shutOff: true, resets: true })).rejects.toMatchObject({ kind: "two" });
  });
});

describe("the watch for two copies", () => {
  const observed = (rows: readonly (readonly [number, number])[]) => {
    let at = 0;
    const serialSizes = () => new Map(rows[at]?.map((size, index) => [`${index}.serial`, size]) ?? []);
    const watch = new CopiesWatch({ serialSizes });
    watch.end();
    for (at = 1; at < rows.length; at += 1) watch.look();
    return watch.two;
  };

  test("accepts a handover, also when the source's last output is sampled one interval late", () => {
    const handover = [
      [0, 0],
      [5, 0],
      [9, 0],
      [9, 3],
      [9, 6],
      [9, 9],
    ] as const;
    const late = [
      [0, 0],
      [5, 0],
      [7, 3],
      [9, 6],
      [9, 9],
      [9, 12],
    ] as const;
    const lateAlone = [
      [0, 0],
      [5, 0],
      [5, 3],
      [9, 3],
      [9, 6],
      [9, 9],
    ] as const;
    for (const rows of [handover, late, lateAlone]) expect(observed(rows)).toBeUndefined();
  });

  test("finds copies that write in turn, at once, or after a break", () => {
    const inTurn = [
      [0, 0],
      [5, 0],
      [5, 3],
      [5, 6],
      [8, 6],
      [8, 9],
    ] as const;
    const atOnce = [
      [0, 0],
      [5, 3],
      [6, 4],
      [7, 5],
      [8, 6],
      [9, 7],
    ] as const;
    const rested = [
      [0, 0],
      [5, 0],
      [5, 3],
      [5, 3],
      [5, 3],
      [6, 3],
    ] as const;
    for (const rows of [inTurn, atOnce, rested]) expect(observed(rows)).toContain("has grown again");
  });
});
