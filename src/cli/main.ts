#!/usr/bin/env node
// The command `switchover`: parses its arguments and runs a subcommand.

import { readFileSync } from "node:fs";
import { program } from "./program.js";

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  version: string;
};
await program().version(version).parseAsync();
