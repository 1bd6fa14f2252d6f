#!/usr/bin/env node
// `switchoverd`: reads its configuration, runs until it is told to stop, and stops in good order.

import { Command } from "commander";
import { readConfig } from "../daemon/config.js";
import { type Daemon, startDaemon } from "../daemon/daemon.js";
import { messageOf } from "../protocol/answer.js";
import { badInputExitCode } from "./words.js";

const stopMs = 10_000;

export const switchoverd = new Command("switchoverd")
  .description("Runs the guests of one host and their migrations; speaks libvirt's protocol.")
  .option("--config <file>", "its configuration, JSON", "/etc/switchover/switchoverd.json")
  .showHelpAfterError()
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
  .action(async ({ config: path }: { config: string }) => {
    const complain = (sentence: string) => console.error(`switchoverd: ${sentence}`);
    let daemon: Daemon;
    try {
      const config = await readConfig(path);
      daemon = await startDaemon(config, { complain });
      console.log(`switchoverd listens on ${config.socket.path}`);
    } catch (error) {
      complain(messageOf(error));
      process.exit(badInputExitCode);
    }
    const stop = () => {
      void daemon.stop({ deadlineMs: stopMs }).then(() => process.exit(0));
    };
    process.once("SIGTERM", stop);
    process.once("SIGINT", stop);
  });

await switchoverd.parseAsync();
