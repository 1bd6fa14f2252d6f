// Gives the tests one directory for all their files. Remains at the end are an error; a QEMU whose test was cut off is
// ended here, from outside.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findByArgument } from "../../src/drivers/platform/procfs.js";
import { buildPrograms } from "./programs.js";

export default function setup(): () => void {
  const directory = mkdtempSync(join(tmpdir(), "swo-"));
  process.env["TMPDIR"] = directory;
  const removePrograms = buildPrograms();
  return () => {
    removePrograms();
    const processes = findByArgument(`${directory}/`).filter(({ pid }) => pid !== process.pid);
    for (const { pid } of processes) process.kill(pid, "SIGKILL");
    // Node's loader keeps its cache there.
    const files = readdirSync(directory).filter((text) => !/^(tsx|node)-/.test(text));
    rmSync(directory, { recursive: true, force: true });
    if (processes.length + files.length > 0) {
      process.exitCode = 1;
      throw new Error(
        `the tests have left ${processes.length} processes and these files: ${files.join(", ") || "none"}`,
      );
    }
  };
}
