// The command line: its commands, options, checks and help. The commands themselves are in `commands/`.

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
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("Not a number.");
  return value;
};

const count = (text: string): number => {
  const value = number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError("Must be an integer of at least 1.");
  return value;
};

const etcd = () =>
  new Option(
    "--etcd <url>",
    "fence: URL of an etcd endpoint; repeat the option for further endpoints",
  ).argParser((text: string, before: readonly string[] = []) => {
    if (!/^https?:$/.test(URL.canParse(text) ? new URL(text).protocol : ""))
      throw new InvalidArgumentError("Not an http or https URL such as http://10.0.0.1:2379.");
    return [...before, text];
  });

const exitCodes = Object.entries({ ...outcomes, "not proved": notProved })
  .map(([kind, { exitCode, says }]) => `  ${exitCode}  ${kind}: ${says}`)
  .join("\n");

export function program(): Command {
  const switchover = new Command("switchover")
    .description("Live-migrates QEMU guests and reports at every moment which side runs them.")
    .showHelpAfterError()
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode));
  const migrate = switchover
    .command("migrate")
    .description(
      "live-migrate a guest from one host to another and report which side runs it; without --from and --to, boot a guest in " +
        "one QEMU and migrate it to another on this machine",
    )
    .argument("[hardware...]", "after --: QEMU arguments of your own guest, the same on both sides")
    .option("--from <uri>", "the source host's libvirt URI: a switchoverd or a libvirtd")
    .option("--to <uri>", "the destination host's libvirt URI")
    .option("--domain <name>", "between hosts: the guest's name");
  for (const option of hostOptions(number)) migrate.addOption(option);
  migrate
    .option("--name <name>", "the guest's name", "proof")
    .option("--binary <path>", "path of the QEMU binary", "qemu-system-x86_64")
    .option("--memory <KiB>", "proof guest: memory size; must not be a multiple of 256", number, 65_544)
    .option("--working-set <MiB>", "proof guest: size of the memory that it keeps writing to", number, 16)
    .option("--dirty-rate <MiB/s>", "proof guest: rate at which it dirties memory", number, 16)
    .option(
      "--bandwidth <MiB/s>",
      "bandwidth limit of the memory stream; 0 for none",
      number,
      defaultLimits.bandwidthMiBps,
    )
    .option(
      "--max-downtime <ms>",
      "maximum downtime that QEMU may plan for",
      number,
      defaultLimits.maxDowntimeMs,
    )
    .option("--forecast", "measure the guest's dirty rate for one second first, and print a forecast")
    .option(
      "--timeout <seconds>",
      "suspend the guest after <seconds> of transfer; it resumes on the destination",
      number,
    )
    .option("--timeout-suspend", "on timeout, suspend the guest (the default)")
    .option("--timeout-postcopy", "on timeout, switch to post-copy")
    .option("--timeout-abort", "on timeout, abort the migration")
    .option("--postcopy-after-precopy", "switch to post-copy after the first memory pass")
    .option("--stall <ms>", "abort when no data is transferred for this long", number, defaultLimits.stallMs)
    .addOption(
      new Option("--transport <kind>", "transport of the migration stream")
        .choices(["unix", "tcp"])
        .default("unix"),
    );
  for (const option of streamOptions(number)) migrate.addOption(option);
  migrate
    .addOption(
      new Option(
        "--when-unreachable <policy>",
        "what the source does when the destination does not answer after the handover; resume is unsafe",
      )
        .choices(["wait", "fence", "resume"])
        .default(defaultPolicy.whenUnreachable),
    )
    .option(
      "--patience <ms>",
      "how long the source keeps asking before it applies that policy",
      number,
      defaultPolicy.patienceMs,
    )
    .addOption(etcd())
    .option("--journal <directory>", "write the journal to this directory, one file per migration")
    .option("--story", "print each state of each side as it is entered")
    .option("--inspect [port]", "serve a page on loopback that shows the migration live", number)
    .option("--save-story <file>", "save the recorded migration for `switchover inspect`")
    .option("--json", "print one JSON object per line: records, progress, outcome")
    .addHelpText(
      "after",
      `\nCtrl-C aborts the migration; after the handover the abort is refused. A second Ctrl-C reports the state of both sides and exits.\n\nExit codes:\n${exitCodes}\n  ${badInputExitCode}  invalid input; nothing has been started`,
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
    .description("check whether a guest can be migrated; reports every blocker, migrates nothing")
    .requiredOption("--from <uri>", "the source host's libvirt URI: a switchoverd or a libvirtd")
    .requiredOption("--to <uri>", "the destination host's libvirt URI")
    .requiredOption("--domain <name>", "the guest's name")
    .option("--xml <file>", "the guest's XML for the destination, with other host-side paths")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `\nExit codes:\n  0  the guest can be migrated\n  1  it cannot\n  ${badInputExitCode}  the check could not be made`,
    )
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
    .action(async (options: CheckFlags) => {
      const { checkCommand } = await import("./commands/check.js");
      process.exitCode = await checkCommand(options);
    });
  switchover
    .command("recover")
    .description("finish the migrations that a crash left in a journal; their guests keep running")
    .argument("<journal>", "the directory given to --journal")
    .addOption(etcd())
    .option("--story", "print each state of each side as it is entered")
    .option("--json", "print one JSON object per line: records, outcomes")
    .addHelpText("after", `\nThe exit code is the highest among the migrations:\n${exitCodes}`)
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
    .action(async (path: string, options: RecoverFlags) => {
      const { recoverCommand } = await import("./commands/recover.js");
      process.exitCode = await recoverCommand(path, options);
    });
  switchover
    .command("standing")
    .description("list the domains of a host that are quarantined or away, each with the reason")
    .option("--at <uri>", "the libvirt URI of the host's switchoverd; default: the one on this machine")
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
        "declare that this host's copy of a quarantined domain is the guest: it can be resumed, and a migration that waits " +
        "for the other host's decision ends with the guest here. If another copy runs or has run, its disks are no longer protected",
    },
    {
      decision: "release",
      does:
        "declare that this host's copy of a quarantined or away domain is not the guest, so that the domain can be started afresh: " +
        "this gives up a copy that another host may have, and no guarantee holds for this guest any more",
    },
  ] as const;
  for (const { decision, does } of decisionsOfOperators)
    switchover
      .command(decision)
      .description(does)
      .argument("<domain>", "the domain's name")
      .option("--at <uri>", "the libvirt URI of the host's switchoverd; default: the one on this machine")
      .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
      .action(async (name: string, options: StandingFlags) => {
        const { decideCommand } = await import("./commands/standing.js");
        process.exitCode = await decideCommand(decision, name, options);
      });
  switchover
    .command("replay")
    .description(
      "print the story of a past migration from its journal, step by step, with the causes of failures",
    )
    .argument("<journal>", "a file in the directory given to --journal")
    .option("--json", "print one JSON object per line")
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
    .action(async (path: string, options: { json?: true }) => {
      const { replayCommand } = await import("./commands/replay.js");
      process.exitCode = await replayCommand(path, options);
    });
  const { perSource, perDestination, perLink, total } = defaultDrainLimits;
  const drain = switchover
    .command("drain")
    .description("drain hosts: live-migrate all their guests to other hosts of a fleet, and report per guest")
    .argument("[what...]", "hosts by name or by label, such as rack:r1")
    .requiredOption(
      "--fleet <file>",
      "the hosts as JSON: each with its name, the URI of its switchoverd, labels",
    )
    .option("--dry-run", "print the planned migrations and their expected duration; change nothing")
    .option(
      "--log <directory>",
      "where the drain is stored, so that another process can resume it",
      "switchover-drains",
    )
    .addOption(
      new Option(
        "--engine <url>",
        "store it in this PostgreSQL database instead, as a DBOS workflow: postgresql://… (requires @dbos-inc/dbos-sdk and pg)",
      ).env("SWITCHOVER_DRAIN_ENGINE"),
    )
    .option("--resume <id>", "resume this drain with the options that it was begun with")
    .option("--per-source <n>", "maximum concurrent migrations from one host", count, perSource)
    .option("--per-destination <n>", "maximum concurrent migrations to one host", count, perDestination)
    .option(
      "--per-link <n>",
      "maximum concurrent migrations between two racks (label rack), or two hosts",
      count,
      perLink,
    )
    .option("--total <n>", "maximum concurrent migrations in total", count, total)
    .option("--attempts <n>", "number of destinations tried per guest", count, 3)
    .option("--deadline <seconds>", "begin no migration after this time", number)
    .option("--bandwidth <MiB/s>", "bandwidth limit per migration; 0 for none", number, 0)
    .option("--copy-storage-all", "copy the guests' disks; images that the destination lacks are created")
    .option("--copy-storage-inc", "copy only the data above backing files that both hosts have")
    .option("--unsafe", "migrate even if disk consistency cannot be verified")
    .option("--json", "print one JSON object per line: events, report");
  for (const option of streamOptionsBetween(number)) drain.addOption(option);
  drain
    .addHelpText(
      "after",
      `\nCtrl-C cancels the drain: no further migration begins, and those under way are cancelled where still possible. A second Ctrl-C exits. SIGUSR1 suspends and resumes the drain.\n\nExit codes:\n  0  the hosts are empty\n  3  some guests remain on their hosts\n  5  a guest was lost\n  6  the drain was interrupted; resume it with --resume\n  ${badInputExitCode}  invalid input; nothing has been changed`,
    )
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
    .action(async (what: string[], options: DrainFlags) => {
      const { drainCommand } = await import("./commands/drain.js");
      process.exitCode = await drainCommand(what, options);
    });
  switchover
    .command("inspect")
    .description(
      "serve a page that shows stories step by step: journals, files written by --save-story, counterexamples of the search; " +
        "without files, a simulated migration to experiment with",
    )
    .argument("[stories...]", "story files")
    .option(
      "--host <address>",
      "address to listen on; other than on loopback, clients must present a token",
      "127.0.0.1",
    )
    .option("--port <port>", "port to listen on; 0 for a free one", number, 0)
    .option("--socket <path>", "listen on a Unix socket instead")
    .addOption(
      new Option(
        "--watch <url>",
        "also show the migrations of this inspector, such as a switchoverd's; repeat the option for others",
      ).argParser((url: string, before: readonly string[] = []) => [...before, url]),
    )
    .option("--save <file>", "write the page and its stories to one self-contained file, and exit")
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : badInputExitCode))
    .action(async (paths: string[], options: InspectFlags) => {
      const { inspectCommand } = await import("./commands/inspect.js");
      process.exitCode = await inspectCommand(paths, options);
    });
  return switchover;
}
