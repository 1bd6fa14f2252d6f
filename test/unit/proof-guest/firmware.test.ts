// Boots the proof guest in real QEMU (TCG) and compares its lines with the model; shows that a suspend and a live migration
// leave no trace in the stream, and that a reset does.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { checkContinuity } from "../../../src/proof-guest/continuity.js";
import { buildFirmware, proofGuestOptions } from "../../../src/proof-guest/firmware.js";
import { simulateProofGuest } from "../../../src/proof-guest/model.js";
import { until } from "../../support/until.js";

const memoryKiB = 65544;
const options = proofGuestOptions({ memoryKiB, workingSetMiB: 1, dirtyMiBps: 20 });

describe("proofGuestOptions", () => {
  it("counts a working set and a dirty rate in pages", () => {
    expect(options).toEqual({ pages: 256, pagesPerTick: 51, ticksPerSecond: 100 });
    const idle = proofGuestOptions({ memoryKiB, workingSetMiB: 63, dirtyMiBps: 0.1, ticksPerSecond: 50 });
    expect(idle).toEqual({ pages: 63 * 256, pagesPerTick: 1, ticksPerSecond: 50 });
  });

  const wish = { memoryKiB, workingSetMiB: 1, dirtyMiBps: 20 };
  it.each([
    ["memory at which TCG loses pages", { ...wish, memoryKiB: 65536 }, "multiple of 256"],
    ["a working set beyond memory", { ...wish, workingSetMiB: 64 }, "does not fit"],
    ["an empty working set", { ...wish, workingSetMiB: 0 }, "workingSetMiB 0"],
    ["no dirty rate", { ...wish, dirtyMiBps: 0 }, "dirtyMiBps 0"],
    ["more pages per tick than there are", { ...wish, dirtyMiBps: 1000 }, "pagesPerTick 2560"],
    ["ticks too slow for the timer's divisor", { ...wish, ticksPerSecond: 18 }, "ticksPerSecond 18"],
    ["ticks too fast to keep up with", { ...wish, ticksPerSecond: 1001 }, "ticksPerSecond 1001"],
    ["memory that is not a number", { ...wish, memoryKiB: Number.NaN }, "memoryKiB NaN"],
    ["slots that no mask selects", { ...wish, disk: { slots: 12, seed: 1 } }, "slots 12"],
    ["a seed beyond 32 bits", { ...wish, disk: { slots: 16, seed: 2 ** 32 } }, "seed 4294967296"],
    ["a dirty rate that is not a number", { ...wish, dirtyMiBps: Number.NaN }, "dirtyMiBps NaN"],
  ])("refuses %s", (_what, wrong, message) => {
    expect(() => proofGuestOptions(wrong)).toThrow(RangeError);
    expect(() => proofGuestOptions(wrong)).toThrow(message);
  });
});

describe("the firmware image", () => {
  it("is 64 KiB, reproducible, with a jump at the reset vector", () => {
    const image = buildFirmware(options);
    expect(image).toHaveLength(65536);
    expect(image[0xfff0]).toBe(0xe9);
    expect(buildFirmware(options)).toEqual(image);
  });

  it("is refused for options that the guest does not support", () => {
    expect(() => buildFirmware({ ...options, pages: 1.5 })).toThrow(RangeError);
  });
});

describe("the guest in QEMU", () => {
  let folder = "";
  let firmware = "";
  const running = new Set<ChildProcess>();

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "proof-guest-"));
    firmware = join(folder, "firmware.bin");
    await writeFile(firmware, buildFirmware(options));
  });
  afterEach(async () => {
    const ended = [...running].map((child) => once(child, "exit"));
    for (const child of running) child.kill("SIGKILL");
    running.clear();
    await Promise.all(ended);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  function boot(
    name: string,
    machine: string,
    ...more: string[]
  ): { serial(): Promise<Uint8Array>; qmp: string } {
    const serial = join(folder, `${name}.serial`);
    const qmp = join(folder, `${name}.qmp`);
    const fixed = [
      "-nodefaults",
      "-display",
      "none",
      "-accel",
      "tcg",
      "-m",
      `${memoryKiB}K`,
      "-bios",
      firmware,
    ];
    const ports = ["-serial", `file:${serial}`, "-qmp", `unix:${qmp},server=on,wait=off`];
    running.add(
      spawn("qemu-system-x86_64", ["-machine", machine, ...fixed, ...ports, ...more], { stdio: "ignore" }),
    );
    return { serial: () => readFile(serial).catch(() => new Uint8Array()), qmp };
  }

  /** Sends commands one after the other and waits for each answer. */
  async function tell(
    qmp: string,
    ...commands: { execute: string; arguments?: object }[]
  ): Promise<unknown[]> {
    const socket = connect(qmp).setEncoding("utf8");
    const answers: unknown[] = [];
    const waiting = [{ execute: "qmp_capabilities" }, ...commands];
    let received = "";
    for await (const chunk of socket) {
      received += chunk;
      const lines = received.split("\r\n");
      received = lines.pop() ?? "";
      for (const line of lines) {
        const message = JSON.parse(line);
        if (message.error) throw new Error(line);
        if ("return" in message) answers.push(message.return);
        else if (!("QMP" in message)) continue; // an event
        const next = waiting.shift();
        if (next) socket.write(JSON.stringify(next));
        else socket.end();
      }
    }
    return answers.slice(1);
  }

  /** Counts the lines of a serial stream, including the banner. */
  const lineCount = async (guest: { serial(): Promise<Uint8Array> }) =>
    new TextDecoder().decode(await guest.serial()).split("\n").length - 1;
  const counted = (guest: { serial(): Promise<Uint8Array> }, lines: number) =>
    until(async () => (await lineCount(guest)) >= lines, `${lines} lines`);

  it.each(["pc", "q35"])("writes exactly the lines of the model on machine %s", async (machine) => {
    const guest = boot(machine, machine);
    await counted(guest, 100);
    const bytes = await guest.serial();
    const genuine = simulateProofGuest(options, await lineCount(guest));
    expect(Buffer.from(bytes)).toEqual(Buffer.from(genuine.subarray(0, bytes.length)));
    const report = checkContinuity([{ name: machine, bytes }], options);
    expect(report).toMatchObject({ ok: true, firstCount: 1 });
    expect(report.cyclesVerified).toBeGreaterThan(10);
  });

  it("writes nothing while it is stopped and continues without a gap", async () => {
    const guest = boot("paused", "pc");
    await counted(guest, 20);
    await tell(guest.qmp, { execute: "stop" });
    const atStop = await guest.serial();
    await sleep(200);
    expect(await guest.serial()).toEqual(atStop);
    await tell(guest.qmp, { execute: "cont" });
    await counted(guest, (await lineCount(guest)) + 30);
    const report = checkContinuity([{ name: "paused", bytes: await guest.serial() }], options);
    expect(report).toMatchObject({ ok: true });
  });

  it("shows a reset, and counts correctly again after it", async () => {
    const guest = boot("reset", "q35");
    await counted(guest, 20);
    await tell(guest.qmp, { execute: "system_reset" });
    await counted(guest, (await lineCount(guest)) + 30);
    const report = checkContinuity([{ name: "reset", bytes: await guest.serial() }], options);
    expect(report.faults.map((fault) => fault.kind)).toEqual(["reset"]);
  });

  it.each(["pc", "q35"])("a live migration of machine %s leaves no trace in the stream", async (machine) => {
    const uri = `unix:${join(folder, `${machine}.migration`)}`;
    const source = boot(`${machine}-source`, machine);
    const destination = boot(`${machine}-destination`, machine, "-S", "-incoming", uri);
    await counted(source, 30);
    await tell(source.qmp, { execute: "migrate", arguments: { uri } });
    await until(async () => {
      const [status] = await tell(source.qmp, { execute: "query-migrate" });
      return JSON.stringify(status).includes('"completed"');
    });
    await tell(destination.qmp, { execute: "cont" });
    await counted(destination, 50);
    const streams = [
      { name: "source", bytes: await source.serial() },
      { name: "destination", bytes: await destination.serial() },
    ];
    const report = checkContinuity(streams, options, { expectLinesFrom: ["source", "destination"] });
    expect(report.faults).toEqual([]);
    expect(report.perStream[1]?.cyclesVerified).toBeGreaterThan(5);
  });
});
