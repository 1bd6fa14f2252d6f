// Lets other users traverse a test's directory, and the one for temporary files, without read access to their entries.

import { chmodSync, statSync } from "node:fs";
import { tmpdir } from "node:os";

export function letThrough(directory: string): void {
  for (const path of [tmpdir(), directory]) {
    const { mode } = statSync(path);
    if ((mode & 0o001) === 0) chmodSync(path, (mode & 0o777) | 0o011);
  }
}
