#!/usr/bin/env node
// `switchoverd`: reads its configuration, runs until it receives SIGTERM or SIGINT, and shuts down in order.

import { Command, Option } from "commander";
import { readConfig } from "../daemon/config.js";
import { type Daemon, startDaemon } from "../daemon/daemon.js";
import { messageOf } from "../protocol/effect-result.js";
import { printable } from "../protocol/printable.js";
import { createLog } from "../telemetry/log.js";
import { badInputExitCode } from "./options/command-options.js";

interface DaemonFlags {
  readonly config: string;
  readonly log: "text" | "json";
  readonly logLevel: string;
}

const stopMs = 10_000;

export const switchoverd = new Command("switchoverd")
  .description("Runs the guests of one host and their migrations; speaks libvirt's RPC protocol.")
  .option("--config <file>", "configuration file, JSON", "/etc/switchover/switchoverd.json")
  .addOption(
    new Option(
      "--log <form>",
      "text: errors on stderr; json: errors and the records of each migration on stdout",
    )
      .choices(["text", "json"])
      .default("text"),
  )
  .addOption(
    new Option("--log-level <level>", "with --log json")
      .choices(["debug", "info", "warn", "error"])
      .default("info"),
  )
  .showHelpAfterError()
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
  .action(async ({ config: path, log: form, logLevel }: DaemonFlags) => {
    const log = form === "json" ? createLog(logLevel) : undefined;
    const warn = log?.warn ?? ((sentence: string) => console.error(`switchoverd: ${printable(sentence)}`));
    const say = log?.say ?? ((sentence: string) => console.log(printable(sentence)));
    let daemon: Daemon;
    try {
      const config = await readConfig(path);
      daemon = await startDaemon(config, { warn, ...(log && { log: log.observe }) });
      say(`switchoverd is listening on ${config.socket.path}`);
      if (daemon.http !== null) say(`inspector and metrics: ${daemon.http}`);
    } catch (error) {
      // The message has one line per invalid place in the configuration.
      for (const line of messageOf(error).split("\n")) warn(line);
      process.exit(badInputExitCode);
    }
    const stop = () => {
      void daemon.stop({ deadlineMs: stopMs }).then(() => process.exit(0));
    };
    process.once("SIGTERM", stop);
    process.once("SIGINT", stop);
  });

await switchoverd.parseAsync();
