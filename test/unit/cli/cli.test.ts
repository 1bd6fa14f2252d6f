import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { programArguments } from "../../support/programs.js";
import { commandLine, qemusOf } from "../../support/qemus-of.js";

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function run(
  words: readonly string[],
  during: (child: ReturnType<typeof spawn>, out: string) => void = () => {},
  env: NodeJS.ProcessEnv = {},
): Promise<Ended> {
  const child = spawn(process.execPath, [...programArguments("switchover"), ...words], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  let out = "";
  let err = "";
  child.stdout.on("data", (bytes) => {
    out += bytes;
    during(child, out);
  });
  child.stderr.on("data", (bytes) => {
    err += bytes;
  });
  return new Promise((resolve) => child.once("close", (code) => resolve({ code, out, err })));
}

describe("switchover migrate", () => {
  test("moves the proof guest, reports who runs it and prints its proof", async () => {
    const { code, out } = await run(["migrate", "--name", "cli"]);
    expect(out).toMatch(/the guest runs at the destination \(pid \d+\)/);
    expect(out).toMatch(/downtime \d+\.\d ms \(QEMU timestamps\)/);
    expect(out).toMatch(/proof: counted 1 to \d+ without gap, repeat or reset; memory verified/);
    expect(code).toBe(0);
  });

  test("prints one JSON object per line for programs, including the outcome and the proof", async () => {
    const { code, out } = await run(["migrate", "--json", "--name", "cli"]);
    const lines = out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { type: string; kind?: string; ok?: boolean });
    expect(new Set(lines.map((line) => line.type))).toEqual(
      new Set(["record", "progress", "outcome", "proof"]),
    );
    expect(lines.find((line) => line.type === "outcome")).toMatchObject({
      kind: "arrived",
      runs: "destination",
      failures: [],
    });
    expect(lines.find((line) => line.type === "proof")).toMatchObject({ ok: true, faults: [] });
    expect(code).toBe(0);
  });

  test("moves it on parallel compressed connections, and reports options that were left out", async () => {
    const words = ["--parallel", "--compressed", "--comp-methods", "zlib", "--auto-converge"];
    const { code, out, err } = await run([
      ...["migrate", "--name", "cli", "--working-set", "4", ...words],
      ...["--comp-zlib-level", "9", "--dirty-rate", "8"],
    ]);
    expect(out).toMatch(/the guest runs at the destination/);
    expect(err).toMatch(/option multifd-zlib-level not applied: the source's QEMU accepts 9 and keeps 1|^$/);
    expect(code).toBe(0);
  });

  test("prints a forecast for a busy guest, reports a policy's measures, and proves the guest that it suspended", async () => {
    const busy = ["--working-set", "6", "--dirty-rate", "60", "--bandwidth", "20", "--max-downtime", "20"];
    const words = ["migrate", "--story", "--forecast", "--timeout", "1", ...busy];
    const { code, out } = await run([...words, "--name", "cli"]);
    expect(out).toMatch(/the guest dirties \d+ MiB of memory per second; forecast at a constant rate: /);
    expect(out).toMatch(/rule 1 suspends the guest,? because memory has been transferred for 1\d{3} ms/);
    expect(out).toMatch(/the guest runs at the destination/);
    expect(code).toBe(0);
  });

  test.each([
    [["--zerocopy"], "zeroCopy works on parallel connections only; add parallel"],
    [["--tls"], "tls over a unix socket needs tls.hostname"],
    [["--timeout-suspend"], "--timeout-suspend requires --timeout"],
    [["--timeout", "0"], "elapsedMs is 0; it must be from 1"],
    [["--timeout", "1", "--timeout-abort", "--timeout-postcopy"], "not several: postcopy, abort"],
    [["--timeout", "1", "--timeout-postcopy"], "requires --postcopy"],
    [["--timeout-abort", "--from", "a", "--to", "b", "--domain", "c"], "--timeout-abort requires --timeout"],
    [["--parallel-connections", "2"], "--parallel-connections needs --parallel; add it"],
    [
      ["--from", "a", "--to", "b", "--domain", "c", "--dirty-limit", "8"],
      "--dirty-limit is not supported between hosts; leave it out",
    ],
    [
      ["--from", "a", "--to", "b", "--domain", "c", "--zerocopy"],
      "zeroCopy works on parallel connections only",
    ],
  ])("refuses %j before anything is started", async (words, why) => {
    const { code, out, err } = await run(["migrate", ...words]);
    expect(err).toContain(why);
    expect(out).toBe("");
    expect(code).toBe(2);
  });

  test("aborts cleanly on Ctrl-C: exit 4, the guest at the source, nothing left behind", async () => {
    let interrupted = false;
    const { code, out } = await run(
      ["migrate", "--name", "cli", "--story", "--bandwidth", "4", "--max-downtime", "1"],
      (child, soFar) => {
        if (interrupted || !soFar.includes("precopying")) return;
        interrupted = true;
        child.kill("SIGINT");
      },
    );
    expect(out).toContain("abort accepted");
    expect(out).toContain("the migration was aborted; the guest remains at the source");
    expect(out).toContain("proof: counted 1 to");
    expect(code).toBe(4);
    const pid = Number(/at the source \(pid (\d+)\)/.exec(out)?.[1]);
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
  });

  test("reports on a second Ctrl-C what is left, and ends no process that may run the guest", async () => {
    let interrupts = 0;
    const directory = mkdtempSync(join(tmpdir(), "cli-test-"));
    const words = ["migrate", "--name", "cli", "--story", "--bandwidth", "4", "--max-downtime", "1"];
    const { code, out, err } = await run(
      words,
      (child, soFar) => {
        if (interrupts === 0 && soFar.includes("precopying")) {
          interrupts += 1;
          child.kill("SIGINT");
        } else if (interrupts === 1 && soFar.includes("Ctrl-C again")) {
          interrupts += 1;
          child.kill("SIGINT");
        }
      },
      { TMPDIR: directory },
    );
    const pids = qemusOf("guest=cli");
    for (const pid of pids) process.kill(pid, "SIGKILL");
    // No other process cleans up what was left.
    rmSync(directory, { recursive: true, force: true });
    expect(err).toMatch(/exiting; the source \(pid \d+\) is \w+.*, the destination is \w+/);
    expect(pids).toContain(Number(/at the source \(pid (\d+)\)/.exec(out)?.[1]));
    expect(code).toBe(6);
  });

  test("moves a guest with the user's own QEMU arguments", async () => {
    const { code, out } = await run([
      "migrate",
      "--name",
      "own",
      "--",
      "-machine",
      "q35,accel=tcg",
      "-nodefaults",
      "-display",
      "none",
      "-m",
      "65544K",
    ]);
    expect(out).toContain("own runs at the source");
    expect(out).toContain("the guest runs at the destination");
    expect(code).toBe(0);
  });

  test.each([
    [["--bandwidth", "-3"], "bandwidthMiBps is -3; it must be from 0"],
    [["--memory", "65536"], "a multiple of 256"],
    [["--memory", "lots"], "Not a number"],
    [["--binary", "/no/such/qemu"], "/no/such/qemu cannot be run"],
    [["--", "-machine", "no-such-machine"], "unsupported machine type"],
    [["--nonsense"], "unknown option '--nonsense'"],
  ])("refuses %j with a clear word and exit 2", async (words, sentence) => {
    const { code, err } = await run(["migrate", ...words]);
    expect(err).toContain(sentence);
    expect(code).toBe(2);
  });

  test("leaves no QEMU behind", () => {
    expect(qemusOf("guest=cli")).toEqual([]);
    expect(qemusOf("guest=own")).toEqual([]);
  });
});

test("runs the README's example unchanged", async () => {
  const child = spawn(process.execPath, ["--import", "tsx", "examples/embed.ts"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.on("data", (bytes) => {
    out += bytes;
  });
  const code = await new Promise((resolve) => child.once("close", resolve));
  expect(out).toMatch(/arrived: destination runs it \(pid \d+\), downtime [\d.]+ ms/);
  expect(code).toBe(0);
});
describe("switchover recover", () => {
  test("ends what a killed engine left, reports who runs the guest, and then has nothing to do", async () => {
    const directory = mkdtempSync(join(tmpdir(), "cli-test-"));
    const journal = join(directory, "journal");
    const env = { TMPDIR: directory };
    let killed = false;
    const first = await run(
      [
        "migrate",
        "--name",
        "cli",
        "--story",
        "--bandwidth",
        "24",
        "--max-downtime",
        "20",
        "--journal",
        journal,
      ],
      (child, soFar) => {
        if (killed || !soFar.includes("precopying")) return;
        killed = true;
        child.kill("SIGKILL");
      },
      env,
    );
    expect(first.code).toBeNull();
    const source = Number(/at the source \(pid (\d+)\)/.exec(first.out)?.[1]);
    const { code, out, err } = await run(["recover", journal, "--story"], () => {}, env);
    expect(out, err).toContain("probing  (engine.restarted)");
    expect(code, out + err).toBe(0);
    const destination = Number(/the guest runs at the destination \(pid (\d+)\)/.exec(out)?.[1]);
    // Only the pid is left of a zombie that its new parent has not reaped.
    expect(commandLine(String(source)).join("")).toBe("");
    process.kill(destination, "SIGKILL");
    const again = await run(["recover", journal], () => {}, env);
    expect(again).toMatchObject({ code: 0, out: `no migration in ${journal} needs recovery\n` });
    rmSync(directory, { recursive: true });
  });

  test("reports a journal that does not exist", async () => {
    const directory = mkdtempSync(join(tmpdir(), "cli-test-"));
    const { code, err } = await run(["recover", join(directory, "journal")]);
    expect({ code, err }).toMatchObject({ code: 2, err: expect.stringContaining("cannot be opened") });
    rmSync(directory, { recursive: true });
  });
});
