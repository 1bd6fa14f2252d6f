// The format version and the identity of a journal directory. A new directory has a new identity, by which a host notices that
// its journal was lost. Upholds G1: a directory of an unknown format is never used for an answer.

import { join } from "node:path";
import * as z from "zod/mini";
import { JournalError, readIfThere, writeWhole } from "./durable.js";

/** Version of the directory's files and their meaning. Directories without a format file are of version 1. */
const directoryVersion = 2;

const uuid = z.string().check(z.regex(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/));

/**
 * Returns the identity of the directory; creates it, durably, when the directory is new or of an older version.
 * @throws JournalError when the directory is of a newer version, or one of the two files is damaged.
 */
export async function openIdentity(directory: string, newIdentity: () => string): Promise<string> {
  const formatPath = join(directory, "format");
  const format = await readIfThere(formatPath);
  if (format !== null) checkFormat(directory, formatPath, format);
  const identity = await identityIn(directory, newIdentity);
  // Write the identity first: a directory with a format file is complete.
  if (format === null || Number(format) < directoryVersion)
    await writeWhole(directory, formatPath, `${directoryVersion}\n`);
  return identity;
}

function checkFormat(directory: string, path: string, text: string): void {
  if (!/^[1-9]\d{0,8}\n$/.test(text))
    throw new JournalError(
      `${path} does not contain a format version; the journal is damaged. Restore the file from a backup (this switchover writes "${directoryVersion}").`,
    );
  if (Number(text) > directoryVersion)
    throw new JournalError(
      `the journal directory ${directory} has the format version ${Number(text)}; this switchover reads versions up to ${directoryVersion}. ` +
        "Start the newer switchover that wrote it, or configure another state directory.",
    );
}

async function identityIn(directory: string, newIdentity: () => string): Promise<string> {
  const path = join(directory, "identity");
  const text = await readIfThere(path);
  if (text === null) {
    const identity = newIdentity();
    await writeWhole(directory, path, `${identity}\n`);
    return identity;
  }
  const parsed = uuid.safeParse(text.trimEnd());
  if (parsed.success) return parsed.data;
  throw new JournalError(
    `${path} does not contain a uuid; the journal is damaged. Restore the file from a backup, or remove it: the host is then treated as one whose journal was lost.`,
  );
}
