/** The tests that a mode is excepted from, by their file and a part of their name, each with the reason. */

export interface Exception {
  /** A part of the name of the test, after the names of those that it is part of. Empty: all tests of the file. */
  readonly name: string
  readonly modes: ReadonlyArray<string>
  readonly why: string
}

const both = ["readers", "writer"]
const writer = ["writer"]

const here = "it has SQLite fail in this thread"
const counted = "it counts or orders what happens in this thread"
const twoPools = "readers in process and readers in threads are two pools"
const perCase = "it opens a database for each case, which takes a thread each: those of `worker*` interrupt at random"
const bulk = "the settings of a long batch and the threads after it are those of a writer in process"
const long = "it takes as many messages as statements, which is too long"
const clock = "it counts on a clock that stands still while a statement runs"
const care = "the care for the log begins while the test still writes, and waits for the clock, which stands still then"
const ahead = "a thread reads ahead, so the statement ends earlier"
const waits =
  "a statement in a thread waits for its answer, and others go meanwhile: see `lets others go first while a fiber runs many`"
const functions = "its programs run functions with `writeSync`: see `workerGroupModel`"
const busy = "a thread works as soon as it is asked, and never only waits for others"
const later = "a statement in a thread ends in a later turn of the event loop"
const own = "a writer in a thread moves its log there, without another thread: see `nor does a writer that is in one`"

export const exceptions: Readonly<Record<string, ReadonlyArray<Exception>>> = {
  "sqlite/batchEnds": [
    { name: "stores whole transactions or nothing, at every point", modes: both, why: perCase },
    { name: "after a long batch", modes: writer, why: bulk }
  ],
  "sqlite/callOptions": [
    { name: "of readSync are", modes: writer, why: "it reads with `readSync` in a transaction, which is in a thread" }
  ],
  "sqlite/client": [
    { name: "runs on the writer", modes: both, why: here },
    { name: "holds one lease, as long as it is read", modes: both, why: "chunks of a thread have another size" },
    { name: "gives its lease back wherever it is left", modes: both, why: "an abandoned reader is replaced" },
    { name: "runs again once a transaction is committed", modes: both, why: "it makes a client over pools by itself" }
  ],
  "sqlite/closedIsGarbage": [{ name: "", modes: both, why: "the databases of a thread end with it" }],
  "sqlite/givenFile": [{ name: "has one pool of readers", modes: both, why: twoPools }],
  "sqlite/groupCommit": [{ name: "one writer alone", modes: writer, why: later }],
  "sqlite/groupCommitCallers": [
    { name: "does not block a caller that does not wait, or a full line", modes: writer, why: busy },
    { name: "does not block a caller that takes the connection in another way", modes: writer, why: busy },
    { name: "does not block a caller whose fiber cannot wait", modes: writer, why: later },
    { name: "does not make the line longer than maxWaiting for a lease", modes: writer, why: busy }
  ],
  "sqlite/groupCommitModel": [{ name: "", modes: writer, why: functions }],
  "sqlite/isolation": [
    { name: "that meets a lock fails at once as well, and begins anew", modes: writer, why: clock }
  ],
  "sqlite/longLog": [{ name: "is moved by another thread", modes: writer, why: own }],
  "sqlite/observedCommits": [
    { name: "has others asked only while it lasts", modes: writer, why: counted },
    { name: "hears of rows that are written by a stream", modes: writer, why: ahead },
    { name: "hears of the rows of a stream that was open", modes: writer, why: ahead }
  ],
  "sqlite/slowStatements": [{ name: "say how they would run on a worker", modes: both, why: "they run there already" }],
  "sqlite/sqlitePool": [
    { name: "reads and writes, each on a connection of its own", modes: both, why: twoPools },
    { name: "names the option readers", modes: both, why: twoPools }
  ],
  "sqlite/sqlitePoolFile": [{ name: "is a typed error, and the next one gets another", modes: both, why: here }],
  "sqlite/sqlitePoolProcesses": [{ name: "makes readers wait too if SQLite locks", modes: both, why: here }],
  "sqlite/sqlitePoolWal": [
    { name: "goes on after SQLite could not move the log", modes: writer, why: here },
    { name: "tries again at once where the read", modes: writer, why: counted },
    { name: "is cut back between reads that would otherwise overlap", modes: writer, why: care },
    { name: "is not a reason to hold up others for longer", modes: writer, why: care }
  ],
  "sqlite/statement": [
    { name: "where the statements of another fiber come in between", modes: both, why: waits },
    { name: "lets no other fiber go first if that is switched off", modes: both, why: waits }
  ],
  "sqlite/transactionStress": [{ name: "leave nothing behind in a scope that lives on", modes: writer, why: long }],
  "sqlite-node/sqliteClient": [{ name: "fails to copy its database", modes: both, why: twoPools }]
}
