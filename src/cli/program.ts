// The words of the command line: options, their checks, their help. What they do is in the files beside this one.

import { Command, InvalidArgumentError, Option } from "commander";
import { defaultDrainLimits } from "../fleet/drain.js";
import { defaultLimits } from "../protocol/convergence/limits.js";
import { notProved, outcomes } from "../protocol/outcomes.js";
import { defaultPolicy } from "../protocol/unreachable-policy.js";
import type { StandingFlags } from "./commands/standing.js";
import {
  badInputExitCode,
  type CheckFlags,
  type DrainFlags,
  type InspectFlags,
  type MigrateFlags,
  type RecoverFlags,
} from "./options/command-options.js";
import { hostOptions, streamOptions, streamOptionsBetween } from "./options/stream-options.js";

const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("It is not a number.");
  return value;
};

const count = (text: string): number => {
  const value = number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError("It must be a whole number of at least 1.");
  return value;
};

const etcd = () =>
  new Option("--etcd <url>", "fence: where an etcd answers; given again, the next to ask").argParser(
    (text: string, before: readonly string[] = []) => {
      if (!/^https?:$/.test(URL.canParse(text) ? new URL(text).protocol : ""))
        throw new InvalidArgumentError("It is not an http or https address, such as http://10.0.0.1:2379.");
      return [...before, text];
    },
  );

const exitCodes = Object.entries({ ...outcomes, "not proved": notProved })
  .map(([kind, { exitCode, says }]) => `  ${exitCode}  ${kind}: ${says}`)
  .join("\n");

export function program(): Command {
  const switchover = new Command("switchover")
    .description("Live-migrates QEMU guests and says at every moment which side runs them.")
    .showHelpAfterError()
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode));
  const migrate = switchover
    .command("migrate")
    .description(
      "move a guest live from one host to another; without --from and --to, boot one in a QEMU and move it into another " +
        "on this machine; say who runs it",
    )
    .argument("[hardware...]", "after --: QEMU arguments of a guest of yours, the same on both sides")
    .option("--from <uri>", "the source's host, by libvirt's URI: a switchoverd or a libvirtd")
    .option("--to <uri>", "the destination's host")
    .option("--domain <name>", "between hosts: the guest");
  for (const option of hostOptions(number)) migrate.addOption(option);
  migrate
    .option("--name <name>", "the guest's name", "proof")
    .option("--binary <path>", "QEMU's binary", "qemu-system-x86_64")
    .option("--memory <KiB>", "proof guest: memory; no multiple of 256", number, 65_544)
    .option("--working-set <MiB>", "proof guest: memory that it writes to, in turn", number, 16)
    .option("--dirty-rate <MiB/s>", "proof guest: how fast it dirties memory", number, 16)
    .option(
      "--bandwidth <MiB/s>",
      "limit of the memory stream; 0 for none",
      number,
      defaultLimits.bandwidthMiBps,
    )
    .option(
      "--max-downtime <ms>",
      "longest pause that QEMU may plan for",
      number,
      defaultLimits.maxDowntimeMs,
    )
    .option(
      "--forecast",
      "first measure for a second how fast the guest dirties memory, and say what to expect",
    )
    .option(
      "--timeout <seconds>",
      "pause the guest when memory has been sent for so long; it runs on there",
      number,
    )
    .option("--timeout-suspend", "as --timeout alone")
    .option("--timeout-postcopy", "switch to post-copy instead")
    .option("--timeout-abort", "give the migration up instead")
    .option("--postcopy-after-precopy", "switch to post-copy after the first pass")
    .option("--stall <ms>", "give up when no byte moves for so long", number, defaultLimits.stallMs)
    .addOption(
      new Option("--transport <kind>", "how the stream travels").choices(["unix", "tcp"]).default("unix"),
    );
  for (const option of streamOptions(number)) migrate.addOption(option);
  migrate
    .addOption(
      new Option(
        "--when-unreachable <policy>",
        "what the source does when it has handed the guest over and the destination does not answer; resume is unsafe",
      )
        .choices(["wait", "fence", "resume"])
        .default(defaultPolicy.whenUnreachable),
    )
    .option("--patience <ms>", "how long it asks before it does so", number, defaultPolicy.patienceMs)
    .addOption(etcd())
    .option("--journal <directory>", "write the journal there, one file for each migration")
    .option("--story", "print each state of each side as it is entered")
    .option("--inspect [port]", "serve a page on loopback that shows the migration while it runs", number)
    .option("--save-story <file>", "write all that was seen of it, for `switchover inspect`")
    .option("--json", "print one JSON object a line: records, progress, outcome")
    .addHelpText(
      "after",
      `\nCtrl-C aborts the migration; once the guest is handed over it is refused. A second Ctrl-C says what is left and goes.\n\nExit codes:\n${exitCodes}\n  ${badInputExitCode}  bad input: nothing has been started`,
    )
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
    .action(async (hardware: string[], options: MigrateFlags) => {
      const isBetween =
        options.from !== undefined || options.to !== undefined || options.domain !== undefined;
      if (isBetween) {
        const { migrateBetweenCommand } = await import("./commands/migrate-between.js");
        process.exitCode = await migrateBetweenCommand(hardware, options);
      } else {
        const { migrateCommand } = await import("./commands/migrate.js");
        process.exitCode = await migrateCommand(hardware, options);
      }
    });
  switchover
    .command("check")
    .description(
      "say whether a guest can move from one host to another, all reasons at once, without moving it",
    )
    .requiredOption("--from <uri>", "the source's host, by libvirt's URI: a switchoverd or a libvirtd")
    .requiredOption("--to <uri>", "the destination's host")
    .requiredOption("--domain <name>", "the guest")
    .option("--xml <file>", "its XML at the destination, with other host-side paths")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `\nExit codes:\n  0  it can move\n  1  it cannot\n  ${badInputExitCode}  it could not be asked`,
    )
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
    .action(async (options: CheckFlags) => {
      const { checkCommand } = await import("./commands/check.js");
      process.exitCode = await checkCommand(options);
    });
  switchover
    .command("recover")
    .description("take up the migrations that a crash has left in a journal, and end each; the guests run on")
    .argument("<journal>", "the directory that --journal named")
    .addOption(etcd())
    .option("--story", "print each state of each side as it is entered")
    .option("--json", "print one JSON object a line: records, outcomes")
    .addHelpText("after", `\nThe exit code is the highest of the migrations':\n${exitCodes}`)
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
    .action(async (path: string, options: RecoverFlags) => {
      const { recoverCommand } = await import("./commands/recover.js");
      process.exitCode = await recoverCommand(path, options);
    });
  switchover
    .command("standing")
    .description("list the domains of a host that are quarantined or away, each with the reason")
    .option("--at <uri>", "the host's switchoverd; default: the one on this machine")
    .option("--json", "print one JSON array")
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
    .action(async (options: StandingFlags) => {
      const { standingCommand } = await import("./commands/standing.js");
      process.exitCode = await standingCommand(options);
    });
  const decisionsOfOperators = [
    {
      decision: "adopt",
      does:
        "declare that the copy of a quarantined domain on this host is the guest: it can be resumed, and a migration that " +
        "waits for the other host's decision ends with the guest here. If another copy has run, or runs, nothing protects its disks any more",
    },
    {
      decision: "release",
      does:
        "declare that no copy of a quarantined or away domain on this host is the guest, so that its host starts it again: " +
        "this gives up a copy that another host may have, and no proof holds any more for this guest",
    },
  ] as const;
  for (const { decision, does } of decisionsOfOperators)
    switchover
      .command(decision)
      .description(does)
      .argument("<domain>", "its name")
      .option("--at <uri>", "the host's switchoverd; default: the one on this machine")
      .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
      .action(async (name: string, options: StandingFlags) => {
        const { decideCommand } = await import("./commands/standing.js");
        process.exitCode = await decideCommand(decision, name, options);
      });
  switchover
    .command("replay")
    .description("print the story of a past migration from its journal, step by step, with causes")
    .argument("<journal>", "a file from the directory that --journal named")
    .option("--json", "print one JSON object a line")
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
    .action(async (path: string, options: { json?: true }) => {
      const { replayCommand } = await import("./commands/replay.js");
      process.exitCode = await replayCommand(path, options);
    });
  const { perSource, perDestination, perLink, total } = defaultDrainLimits;
  const drain = switchover
    .command("drain")
    .description(
      "empty hosts: move all that runs there to the other hosts of a fleet, and tell each guest's story",
    )
    .argument("[what...]", "hosts, by name, or by a label, such as rack:r1")
    .requiredOption("--fleet <file>", "the hosts, as JSON: name, uri of its switchoverd, labels")
    .option("--dry-run", "say what would go where and how long it would take, and touch nothing")
    .option(
      "--log <directory>",
      "where the drain is kept, so that another process can go on with it",
      "switchover-drains",
    )
    .addOption(
      new Option(
        "--engine <url>",
        "keep it in that PostgreSQL instead, as a workflow of DBOS: postgresql://… (needs @dbos-inc/dbos-sdk and pg)",
      ).env("SWITCHOVER_DRAIN_ENGINE"),
    )
    .option("--go-on <id>", "go on with that drain as it was begun, whoever has begun it")
    .option("--per-source <n>", "migrations that leave one host at once", count, perSource)
    .option("--per-destination <n>", "that come to one host at once", count, perDestination)
    .option("--per-link <n>", "between two racks (label rack), or two hosts, at once", count, perLink)
    .option("--total <n>", "at once in all", count, total)
    .option("--attempts <n>", "destinations that are tried for a guest", count, 3)
    .option("--deadline <seconds>", "begin no migration after that", number)
    .option("--bandwidth <MiB/s>", "of each migration; 0 for no limit", number, 0)
    .option("--copy-storage-all", "copy the guests' disks; images that are missing there are made")
    .option("--copy-storage-inc", "the same, of what lies above backing files that both hosts have")
    .option("--unsafe", "also when a disk may not be the same there")
    .option("--json", "print one JSON object a line: events, report");
  for (const option of streamOptionsBetween(number)) drain.addOption(option);
  drain
    .addHelpText(
      "after",
      `\nCtrl-C cancels: nothing more begins, and what is under way is undone if it still can be. A second one leaves. SIGUSR1 pauses, and goes on.\n\nExit codes:\n  0  the hosts are empty\n  3  some guests stay where they were\n  5  a guest was lost\n  6  it was left in the middle; go on with it\n  ${badInputExitCode}  bad input: nothing has been touched`,
    )
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
    .action(async (what: string[], options: DrainFlags) => {
      const { drainCommand } = await import("./commands/drain.js");
      process.exitCode = await drainCommand(what, options);
    });
  switchover
    .command("inspect")
    .description(
      "serve a page that shows stories step by step: journals, stories that --save-story wrote, counterexamples of the search; " +
        "without any, a simulated world to cause one in",
    )
    .argument("[stories...]", "files")
    .option("--host <address>", "where it listens; beyond loopback it asks for a token", "127.0.0.1")
    .option("--port <port>", "0 for a free one", number, 0)
    .option("--socket <path>", "listen on a unix socket instead")
    .addOption(
      new Option(
        "--watch <url>",
        "show the migrations of that inspector too, such as a switchoverd's; given again, of another",
      ).argParser((url: string, before: readonly string[] = []) => [...before, url]),
    )
    .option("--save <file>", "write the page with the stories within it, one file to be shared, and end")
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
    .action(async (paths: string[], options: InspectFlags) => {
      const { inspectCommand } = await import("./commands/inspect.js");
      process.exitCode = await inspectCommand(paths, options);
    });
  return switchover;
}
