// The QEMU of another version that scripts/second-qemu.mjs has unpacked; null where it could not be unpacked.

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const path = join(
  dirname(fileURLToPath(import.meta.url)),
  "..",
  "..",
  "node_modules",
  ".cache",
  "second-qemu",
  "qemu-system-x86_64",
);

export const secondQemu = existsSync(path) ? path : null;
if (secondQemu === null)
  console.warn("moves between two ages of QEMU are not tested: run scripts/second-qemu.mjs");
