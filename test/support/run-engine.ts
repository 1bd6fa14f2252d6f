// Runs an engine in a process of its own, which may kill itself.

import { spawn } from "node:child_process";

/** `script` below `test`, told `words`; what it has printed when it is gone. */
export function runEngine(script: string, words: object): Promise<string> {
  const child = spawn(process.execPath, ["--import", "tsx", `test/${script}`, JSON.stringify(words)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.on("data", (text) => {
    out += text;
  });
  return new Promise((resolve) => child.once("close", () => resolve(out)));
}
