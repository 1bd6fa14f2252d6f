// Runs an engine in its own process, which may kill itself.

import { spawn } from "node:child_process";
import { type Program, programArguments } from "./programs.js";

/** Resolves to the engine's output when it has ended. */
export function runEngine(engine: Program, words: object): Promise<string> {
  const child = spawn(process.execPath, [...programArguments(engine), JSON.stringify(words)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.on("data", (text) => {
    out += text;
  });
  return new Promise((resolve) => child.once("close", () => resolve(out)));
}
