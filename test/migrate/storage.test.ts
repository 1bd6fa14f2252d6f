// Disks that travel with the guest.

import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { launchGuest } from "../../src/guests.js";
import { migrate } from "../../src/migrate.js";

const q = (...args: string[]) => execFileSync("qemu-img", args);

test("try", async () => {
  const dir = mkdtempSync(join(tmpdir(), "st-"));
  const [a, b] = [join(dir, "a.raw"), join(dir, "b.raw")];
  q("create", "-q", "-f", "raw", a, "64M");
  execFileSync("qemu-io", ["-f", "raw", "-c", "write -P 7 1M 4M", a]);
  const disk = (path: string) => [
    "-blockdev",
    `driver=file,node-name=f,discard=unmap,filename=${path}`,
    "-blockdev",
    "driver=raw,node-name=d,file=f,discard=unmap",
  ];
  const guest = await launchGuest(
    {
      name: "s",
      uuid: "5a6a1c9e-0000-4000-8000-000000000001",
      args: [
        "-accel",
        "tcg",
        "-machine",
        "pc",
        "-m",
        "64",
        "-display",
        "none",
        "-nodefaults",
        "-device",
        "virtio-blk-pci,id=one,drive=d",
      ],
    },
    { sideArgs: disk(a) },
  );
  const migration = migrate({
    guest,
    destination: { sideArgs: disk(b) },
    storage: { images: [{ disk: "one", path: b, format: "raw" }] },
    onRecord: (it) =>
      console.log(
        it.side,
        it.kind === "state" ? `${it.state} <- ${it.event} ${JSON.stringify(it.because)}` : JSON.stringify(it),
      ),
  });
  const outcome = await migration.outcome;
  console.log(outcome.kind, outcome.error, outcome.pauseMs);
  await outcome.guest?.end();
  expect(readFileSync(a).equals(readFileSync(b))).toBe(true);
  console.log(statSync(b).blocks * 512, existsSync(b), execFileSync("ls", ["-la", dir]).toString());
  rmSync(dir, { recursive: true });
}, 30_000);
