// Post-copy between two daemons, coordinated by real virsh over a slow cable: the guest runs at the destination while most of
// its memory is still at the source. Checks G1, G2 and G3, and what is left when the guest is lost.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { findByArgument, isAlive } from "../../../src/drivers/platform/procfs.js";
import { Cable, inTwoHosts, noCable, type ProofDomainOptions } from "../../support/host-process.js";
import { makeMute } from "../../support/mute.js";
import { patienceMs, testLimitMs } from "../../support/patience.js";
import { until } from "../../support/until.js";
import { fieldsOf, hasVirsh, Listening, refusal, type VirshHost, VirshLab } from "../../support/virsh-lab.js";

// A slow cable takes time.
const postcopy = ["--live", "--postcopy", "--persistent", "--undefinesource"] as const;
/** Slower than the guest dirties its memory. */
const rate = "40mbit";
const wish: ProofDomainOptions = { workingSetMiB: 24, dirtyMiBps: 24 };
const failed = { a: "paused (post-copy failed)", b: "running (post-copy failed)" } as const;

interface Under {
  readonly lab: VirshLab;
  readonly cable: Cable;
}

/** A guest whose memory takes some seconds to transfer. */
async function slowly(more: ProofDomainOptions = {}): Promise<Under> {
  const cable = new Cable();
  const lab = await VirshLab.begin({ ...wish, ...more }, cable);
  await lab.boot();
  cable.slow(rate);
  return { lab, cable };
}

const stateAt = (lab: VirshLab, side: "a" | "b"): Promise<string> =>
  lab[side].virsh("domstate", "--reason", lab.guest.name).catch(() => "");

const reaches = (lab: VirshLab, side: "a" | "b", state: string): Promise<void> =>
  vi.waitFor(async () => expect(await stateAt(lab, side)).toBe(state), { timeout: patienceMs, interval: 20 });

const moves = ({ a, guest }: VirshLab, what: "Memory" | "File"): Promise<void> =>
  until(async () => {
    const told = fieldsOf(await a.virsh("domjobinfo", guest.name));
    return Number.parseFloat(told[`${what} processed`] ?? "0") > 0;
  });

/** A migration in post-copy; `ended` is virsh's output, or its error. */
async function inPostcopy(under: Under, ...options: string[]): Promise<{ readonly ended: Promise<string> }> {
  const { lab } = under;
  const ended = lab.migrate(...postcopy, ...options).catch(String);
  onTestFinished(async () => void (await ended));
  await moves(lab, "Memory");
  await lab.a.virsh("migrate-postcopy", lab.guest.name);
  await reaches(lab, "b", "running (post-copy)");
  return { ended };
}

/** The reason why the host reports a failure of its own. */
const stir = (lab: VirshLab, host: VirshHost) => async () => {
  const uuid = "7d6e8a52-0000-4000-8000-000000000001";
  const other = (xml: string) => xml.replaceAll(lab.guest.name, "other").replace(lab.guest.uuid, uuid);
  await host.virsh("define", lab.xmlFile("a", other));
  await host.virsh("undefine", "other");
};

const lifecycleOf = (listening: Listening, { guest }: VirshLab): string[] =>
  listening.of(guest.name).filter((text) => text.startsWith("lifecycle"));

async function restart({ process }: VirshHost): Promise<void> {
  await process.kill();
  await process.start();
}

describe.skipIf(!hasVirsh || noCable !== undefined)("virsh migrate --postcopy", () => {
  test("resumes the guest at the destination before its memory has arrived, and reports it as libvirt does", async () => {
    const under = await slowly();
    const { lab, cable } = under;
    const { a, b, guest } = lab;
    const [atA, atB] = [await Listening.at(a, stir(lab, a)), await Listening.at(b, stir(lab, b))];
    const { ended } = await inPostcopy(under);
    expect(await stateAt(lab, "a")).toBe("paused (post-copy)");
    await guest.counts("b");
    expect(await refusal(a.virsh("domjobabort", guest.name))).toContain(
      "cannot abort migration in post-copy mode",
    );
    expect(await refusal(a.virsh("domjobabort", "--postcopy", guest.name))).toContain("themselves");
    expect(await refusal(a.virsh("resume", guest.name))).toContain("another job is active");
    cable.fast();
    expect(await ended).toBe("");
    await lab.countsAt("b");
    expect(await stateAt(lab, "b")).toBe("running (migrated)");
    expect(await b.virsh("list", "--persistent", "--name")).toBe(guest.name);
    await until(() => lifecycleOf(atA, lab).length === 3 && lifecycleOf(atB, lab).length === 4);
    expect(lifecycleOf(atA, lab)).toEqual([
      "lifecycle Suspended Post-copy",
      "lifecycle Stopped Migrated",
      "lifecycle Undefined Removed",
    ]);
    expect(lifecycleOf(atB, lab)).toEqual([
      "lifecycle Defined Added",
      "lifecycle Started Migrated",
      "lifecycle Resumed Post-copy",
      "lifecycle Resumed Migrated",
    ]);
  });

  test("switches to post-copy by itself with --postcopy-after-precopy, also peer-to-peer, and the guest can migrate again", async () => {
    const { lab, cable } = await slowly();
    const { a, b, guest } = lab;
    await a.virsh(
      ...["migrate", ...postcopy, "--p2p", "--postcopy-after-precopy", guest.name, b.tcp],
      ...["--xml", lab.xmlFile("b")],
    );
    await lab.countsAt("b");
    cable.fast();
    await b.virsh("migrate", "--live", guest.name, a.uri, "--xml", lab.xmlFile("again"));
    await until(() => guest.pids().length === 1);
    await guest.counts("again");
    guest.check();
  });

  test("moves the disk with the guest", async () => {
    const under = await slowly({ disk: "raw" });
    const { lab, cable } = under;
    // The disk is dirtied in larger blocks than are written.
    cable.slow("120mbit");
    const ended = lab.migrate(...postcopy, "--copy-storage-all").catch(String);
    await moves(lab, "File");
    expect(await refusal(lab.a.virsh("migrate-postcopy", lab.guest.name))).toContain(
      "no memory is being transferred",
    );
    await moves(lab, "Memory");
    await lab.a.virsh("migrate-postcopy", lab.guest.name);
    await reaches(lab, "b", "running (post-copy)");
    cable.fast();
    expect(await ended).toBe("");
    await lab.countsAt("b");
    await lab.guest.checkDisk("b");
  });

  test("is refused where libvirt refuses it, with the name of the obstacle", async () => {
    const under = await slowly();
    const { lab, cable } = under;
    const { a, b, guest } = lab;
    const { name } = guest;
    expect(await refusal(lab.migrate("--postcopy"))).toContain(
      "argument unsupported: post-copy needs a running guest",
    );
    expect(await refusal(lab.migrate(...postcopy, "--suspend"))).toContain(
      "argument unsupported: post-copy needs a running guest",
    );
    const tunnelled = ["--p2p", "--tunnelled", name, b.tcp, "--xml", lab.xmlFile("b")];
    expect(await refusal(a.virsh("migrate", ...postcopy, ...tunnelled))).toContain(
      "argument unsupported: post-copy does",
    );
    expect(await refusal(a.virsh("migrate-postcopy", name))).toContain(
      "not valid: post-copy can only be started while outgoing migration is in progress",
    );
    const ended = lab.migrate("--live").catch(String);
    await moves(lab, "Memory");
    expect(await refusal(a.virsh("migrate-postcopy", name))).toContain("VIR_MIGRATE_POSTCOPY");
    await a.virsh("domjobabort", name);
    expect(await ended).toContain("canceled by client");
    cable.fast();
    await lab.countsAt("a");
  });

  test.each(["a", "b"] as const)("continues when the daemon at %s is killed with -9", async (side) => {
    const under = await slowly();
    const { lab, cable } = under;
    const { ended } = await inPostcopy(under);
    await lab[side].process.kill();
    await lab.guest.counts("b");
    await lab[side].process.start();
    cable.fast();
    await reaches(lab, "b", "running (migrated)");
    await lab.countsAt("b");
    await ended;
    await until(async () => (await lab.a.virsh("list", "--all", "--name")) === "");
    expect(await lab.b.virsh("list", "--persistent", "--name")).toBe(lab.guest.name);
  });

  test("continues when both daemons are killed with -9 after its connection broke, although the destination's QEMU waits for memory", {
    timeout: testLimitMs,
  }, async () => {
    const under = await slowly();
    const { lab, cable } = under;
    const [source] = lab.guest.pids();
    const { ended } = await inPostcopy(under);
    cable.cut();
    await reaches(lab, "a", failed.a);
    for (const side of ["a", "b"] as const) await lab[side].process.kill();
    for (const pid of lab.guest.pids()) if (pid !== source) await makeMute(pid, 65_544 * 1024);
    cable.mend();
    for (const side of ["b", "a"] as const) await lab[side].process.start();
    cable.fast();
    await reaches(lab, "b", "running (migrated)");
    await lab.countsAt("b");
    await ended;
    await until(async () => (await lab.a.virsh("list", "--all", "--name")) === "");
    expect(lab.guest.pids()).toHaveLength(1);
  });

  test("continues when virsh is killed", async () => {
    const { lab, cable } = await slowly();
    const migration = lab.migrating(...postcopy);
    await moves(lab, "Memory");
    await lab.a.virsh("migrate-postcopy", lab.guest.name);
    await reaches(lab, "b", "running (post-copy)");
    migration.signal("SIGKILL");
    await migration.ended;
    cable.fast();
    await reaches(lab, "b", "running (migrated)");
    await lab.countsAt("b");
    await until(async () => (await lab.a.virsh("list", "--all", "--name")) === "");
  });

  test("reconnects by itself after the cable was cut", async () => {
    const under = await slowly();
    const { lab, cable } = under;
    const { a, b } = lab;
    const { ended } = await inPostcopy(under);
    cable.cut();
    await reaches(lab, "a", failed.a);
    expect(await refusal(a.virsh("resume", lab.guest.name))).toContain("another job is active");
    cable.mend();
    await reaches(lab, "b", "running (post-copy)");
    cable.fast();
    expect(await ended).toBe("");
    await lab.countsAt("b");
    expect(await a.virsh("list", "--all", "--name")).toBe("");
    expect(await b.virsh("domstate", "--reason", lab.guest.name)).toBe("running (migrated)");
  });

  test("reconnects when the destination's QEMU has not noticed the loss of the connection", async () => {
    const under = await slowly();
    const { lab, cable } = under;
    const { a } = lab;
    const { ended } = await inPostcopy(under);
    // Its connection stays open without data, as over a cable that was cut for good.
    const relays = findByArgument(`${a.process.directory}/run/relay-`);
    expect(relays).toHaveLength(1);
    for (const { pid } of relays) process.kill(pid, "SIGSTOP");
    await reaches(lab, "a", failed.a);
    await reaches(lab, "a", "paused (post-copy)");
    const again = findByArgument(`${a.process.directory}/run/relay-`);
    expect(again, "it goes through another").toHaveLength(1);
    expect(again[0]?.pid).not.toBe(relays[0]?.pid);
    cable.fast();
    expect(await ended).toBe("");
    await lab.countsAt("b");
    expect([...relays, ...again].filter(isAlive), "they go with their migration").toEqual([]);
  });

  // The test does not control how much data the kernel's buffers hold at the cut: a cut that comes too late is repeated.
  test("ends when the last data in flight is lost: QEMU cannot abandon the connection, and the guest is reported as lost", {
    retry: 3,
    timeout: testLimitMs,
  }, async () => {
    const cable = new Cable();
    const lab = await VirshLab.begin({ ...wish, watched: true }, cable);
    await lab.boot();
    cable.slow(rate);
    const { a, b, guest } = lab;
    const { ended } = await inPostcopy({ lab, cable });
    const relays = findByArgument(`${a.process.directory}/run/relay-`);
    const leftIsAtMost = (bytes: number) =>
      guest.asked("a", (monitor) =>
        until(async () => {
          const { ram } = await monitor.execute("query-migrate", {});
          return (ram?.remaining ?? 0) <= bytes;
        }),
      );
    // QEMU has sent all of it into buffers, and waits for the destination's acknowledgement; the buffers' content is lost.
    await leftIsAtMost(256 * 1024);
    for (const { pid } of relays) process.kill(pid, "SIGSTOP");
    await leftIsAtMost(0);
    await new Promise((resolve) => setTimeout(resolve, 500));
    for (const { pid } of relays) process.kill(pid, "SIGKILL");
    await reaches(lab, "a", failed.a);
    expect(await ended).toContain("lost its connection for good");
    const journal = join(a.process.directory, "state", "journal");
    const stories = readdirSync(journal, { recursive: true, encoding: "utf8" })
      .map((name) => join(journal, name))
      .filter((path) => statSync(path).isFile())
      .map((path) => readFileSync(path, "utf8"));
    expect(stories.join(), "why is told at the source").toContain("does not close it");
    expect(await stateAt(lab, "a")).toBe(failed.a);
    expect(await stateAt(lab, "b")).toBe(failed.b);
    expect(await refusal(a.virsh("resume", guest.name))).toContain("can only be destroyed");
    await a.virsh("destroy", guest.name);
    await b.virsh("destroy", guest.name);
    expect(guest.pids()).toEqual([]);
  });

  test("reports the guest as lost when the destination's QEMU dies, and leaves the source's QEMU to an operator", async () => {
    const under = await slowly();
    const { lab } = under;
    const { a, b, guest } = lab;
    const atA = await Listening.at(a, stir(lab, a));
    const [source] = guest.pids();
    const { ended } = await inPostcopy(under);
    for (const pid of guest.pids()) if (pid !== source) process.kill(pid, "SIGKILL");
    expect(await ended).toContain("the guest is lost");
    await reaches(lab, "a", failed.a);
    await until(async () => (await b.virsh("list", "--name")) === "");
    expect(guest.pids()).toEqual([source]);
    expect(lifecycleOf(atA, lab)).toEqual([
      "lifecycle Suspended Post-copy",
      "lifecycle Suspended Post-copy Error",
    ]);
    for (const again of [false, true]) {
      if (again) await restart(a);
      expect(await stateAt(lab, "a")).toBe(failed.a);
      expect(await refusal(a.virsh("resume", guest.name))).toContain("can only be destroyed");
      expect(await refusal(lab.migrate("--live"))).toContain("cannot be migrated");
    }
    await a.virsh("destroy", guest.name);
    expect(guest.pids()).toEqual([]);
  });

  test("leaves the destination's QEMU to an operator when the source's QEMU dies", async () => {
    const under = await slowly();
    const { lab } = under;
    const { a, b, guest } = lab;
    const [source = 0] = guest.pids();
    const { ended } = await inPostcopy(under);
    process.kill(source, "SIGKILL");
    await reaches(lab, "b", failed.b);
    await ended;
    await until(async () => (await a.virsh("list", "--name")) === "");
    await restart(b);
    expect(await stateAt(lab, "b")).toBe(failed.b);
    await b.virsh("destroy", guest.name);
    expect(guest.pids()).toEqual([]);
  });

  test("is given up when an operator destroys the source's copy while the destination is unreachable", async () => {
    const under = await slowly();
    const { lab, cable } = under;
    const { a, b, guest } = lab;
    const { ended } = await inPostcopy(under);
    cable.cut();
    await reaches(lab, "a", failed.a);
    await a.virsh("destroy", guest.name);
    cable.mend();
    await reaches(lab, "b", failed.b);
    await ended;
    await b.virsh("destroy", guest.name);
    expect(guest.pids()).toEqual([]);
  });

  test("reports a running guest as running while its QEMU does not answer", {
    timeout: testLimitMs,
  }, async () => {
    const under = await slowly();
    const { lab, cable } = under;
    const { a, b, guest } = lab;
    const atB = await Listening.at(b, stir(lab, b));
    const { ended } = await inPostcopy(under);
    cable.cut();
    await reaches(lab, "a", failed.a);
    await a.virsh("destroy", guest.name);
    for (const pid of guest.pids()) process.kill(pid, "SIGSTOP");
    cable.mend();
    await reaches(lab, "b", failed.b);
    await ended;
    // Until it is given up as lost.
    const job = async () => expect(await b.virsh("domjobinfo", guest.name)).toContain("None");
    await vi.waitFor(job, { timeout: patienceMs, interval: 100 });
    await restart(b);
    expect(await stateAt(lab, "b"), "also by a daemon that cannot ask it").toBe(failed.b);
    expect(await refusal(b.virsh("start", guest.name))).toContain("already");
    await b.virsh("destroy", guest.name);
    expect(guest.pids()).toEqual([]);
    expect(lifecycleOf(atB, lab)).not.toContain("lifecycle Suspended Post-copy Error");
  });
});

test("does not begin at a host that would fence the destination off", async () => {
  const policy = { whenUnreachable: "fence", patienceMs: 1_000 } as const;
  await inTwoHosts({ policy, etcd: ["http://127.0.0.1:9"] }, async (lab) => {
    await expect(lab.managed({}, ["POSTCOPY"]).then((migration) => migration.outcome)).resolves.toMatchObject(
      {
        kind: "stayed",
        error: { message: expect.stringContaining('post-copy conflicts with this host\'s policy "fence"') },
      },
    );
    await lab.runsAt("a");
  });
});
