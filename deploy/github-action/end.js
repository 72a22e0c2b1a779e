// Has the job's report made, and hands it to the job: to its summary, and as files that its user can read.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const martlet = require('./martlet.js');

/** Has the agent make the report of the job that we are in, as it is now. */
function ask(options = {}) {
  return martlet.agent('report', [], options) !== null;
}

/** Stops the agent. If somebody else has ended it, another closes what that left. */
function stop() {
  const words = ['--token-file', martlet.TOKEN];
  if (martlet.agent('stop', words, { mayFail: true }) !== null) return true;
  martlet.agent('start', ['--output', martlet.OUTPUT, ...words]);
  martlet.agent('stop', words);
  return false;
}

/** This job's report, of those that the agent has left: the directory and what report.json says. */
function find() {
  const wanted = { run: martlet.needed('GITHUB_RUN_ID'), attempt: process.env.GITHUB_RUN_ATTEMPT, job: process.env.GITHUB_JOB };
  const names = martlet.root(['ls', '-1', martlet.OUTPUT]).toString().split('\n').filter((n) => n.startsWith('github-'));
  const found = [];
  for (const name of names.sort()) {
    const directory = path.join(martlet.OUTPUT, name);
    const text = martlet.root(['cat', path.join(directory, 'report.json')], { mayFail: true });
    if (text === null) continue;
    const report = JSON.parse(text.toString());
    const job = report.job;
    // A job of actions alone may not have said which it is.
    const isOurs = Object.keys(wanted).every((key) => job[key] === null || !wanted[key] || job[key] === wanted[key]);
    if (isOurs) found.push({ directory, report });
  }
  if (found.length === 0) throw new Error('the agent has left no report of this job');
  // The first that an agent left of it: one that began later has seen less.
  return found[0];
}

/** Copies the files as the user that we are: root only reads. */
function copy(from, to) {
  fs.rmSync(to, { recursive: true, force: true });
  fs.mkdirSync(to, { mode: 0o700 });
  for (const name of martlet.FILES) {
    const file = fs.openSync(path.join(to, name), 'wx', 0o600);
    try {
      martlet.root(['cat', path.join(from, name)], { stdout: file });
    } finally {
      fs.closeSync(file);
    }
  }
}

function summarise(directory) {
  const file = process.env.GITHUB_STEP_SUMMARY;
  if (!file) return;
  const text = fs.readFileSync(path.join(directory, 'report.md'), 'utf8');
  if (Buffer.byteLength(text) > martlet.SUMMARY_LIMIT) {
    martlet.tell('warning', 'martlet: the report is too large for a summary');
    return;
  }
  fs.appendFileSync(file, text);
}

/** Gives the job a copy of its report, and returns what report.json says. */
function handOver() {
  // Of several the first counts: it is an agent's that was ended.
  const { directory, report } = find();
  const to = martlet.reportDirectory();
  copy(directory, to);
  martlet.put('GITHUB_OUTPUT', 'report', to);
  martlet.put('GITHUB_OUTPUT', 'verdict', report.verdict);
  const until = report.job.span.until === null ? '' : ` up to ${report.job.span.until.at}`;
  martlet.say(`${report.verdict}${until}; log head ${report.log.head}; report ${to}`);
  return report;
}

/** Hands over what the agent has seen, and ends it; the report. */
function end() {
  const wantsSummary = martlet.truth('summary');
  // What is asked for now is whole; what a stop leaves says that it was cut, and takes its place.
  const isWhole = ask({ mayFail: true });
  let report = isWhole ? handOver() : null;
  const wasThere = stop();
  martlet.root(['rm', '-f', martlet.TOKEN]);
  if (report === null) report = handOver();
  if (wantsSummary) summarise(martlet.reportDirectory());
  if (!wasThere) martlet.tell('warning', 'martlet: the agent was ended before the job was; the report says since when');
  return report;
}

/** Fails the step if a verdict applies for which it should. */
function judge(report) {
  const failing = martlet.failOn().filter((verdict) => report.verdicts.includes(verdict));
  if (failing.length > 0) throw new Error(`the job is ${failing.join(' and ')}: see the report`);
}

/** Whether the agent is still to be ended: its token is removed when that is done. */
function hasBegun() {
  return martlet.root(['test', '-e', martlet.TOKEN], { mayFail: true }) !== null;
}

module.exports = { ask, end, handOver, judge, hasBegun };
