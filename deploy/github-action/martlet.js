// What the action's scripts share. Nothing here but Node's own modules, and nothing prints the environment.
'use strict';
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

// Root's alone: what runs as root is not where a step can exchange it.
const BINARY = '/opt/martlet/martlet';
const SOCKET = '/run/martlet/agent.sock';
const TOKEN = '/run/martlet/action-token';
const OUTPUT = '/var/lib/martlet-action';
const FILES = ['report.html', 'report.md', 'report.json', 'events.ndjson.zst', 'policy.suggested.yaml'];
// GitHub takes no larger summary of a step.
const SUMMARY_LIMIT = 1024 * 1024;

/** Where the report is for the job's own user. */
function reportDirectory() {
  return path.join(needed('RUNNER_TEMP'), 'martlet-report');
}

function needed(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: this runs as an action only`);
  return value;
}

/** An input, trimmed; what action.yml has as a default comes like one that was given. */
function input(name) {
  return (process.env[`INPUT_${name.replace(/ /g, '_').toUpperCase()}`] || '').trim();
}

function truth(name) {
  const value = input(name) || 'true';
  if (value !== 'true' && value !== 'false') throw new Error(`${name} takes true or false`);
  return value === 'true';
}

/** Verdicts for which the job is to fail. */
function failOn() {
  const words = input('fail-on').split(',').map((word) => word.trim()).filter((word) => word !== '');
  for (const word of words) {
    if (!['findings', 'blocked', 'incomplete'].includes(word)) {
      throw new Error('fail-on takes findings, blocked and incomplete, several by commas');
    }
  }
  return words;
}

/** Runs a program as root; its standard output, or null where it fails and may. */
function root(words, { mayFail = false, stdout = 'pipe' } = {}) {
  const command = process.getuid() === 0 ? words : ['sudo', '-n', '--', ...words];
  const done = spawnSync(command[0], command.slice(1), {
    stdio: ['ignore', stdout, 'pipe'], maxBuffer: 256 * 1024 * 1024,
  });
  if (done.error) throw new Error(`${command[0]} could not be run: ${done.error.message}`);
  if (done.status === 0) return done.stdout;
  if (mayFail) return null;
  const said = done.stderr.toString().trim();
  throw new Error(said || `${words[0]} ended with ${done.signal || done.status}`);
}

function agent(verb, words = [], options = {}) {
  return root([BINARY, 'agent', verb, '--socket', SOCKET, ...words], options);
}

/** A command for the runner. Whatever is in `text`, it stays one. */
function tell(kind, text) {
  const data = text.replace(/%/g, '%25').replace(/\r/g, '%0D').replace(/\n/g, '%0A');
  process.stdout.write(`::${kind}::${data}\n`);
}

/** A line of the log, of which nothing is taken as a command. */
function say(text) {
  process.stdout.write(`martlet: ${text.replace(/[\x00-\x1f\x7f]/g, ' ')}\n`);
}

/** Adds to a file that the runner named: outputs, states. */
function put(variable, name, value) {
  const file = process.env[variable];
  if (!file) return;
  if (/[\r\n]/.test(value)) throw new Error(`${name} would have several lines`);
  fs.appendFileSync(file, `${name}=${value}\n`);
}

/** Runs a script's body; what it throws is the step's error. */
function main(body) {
  try {
    body();
  } catch (error) {
    tell('error', `martlet: ${error.message}`);
    process.exitCode = 1;
  }
}

module.exports = {
  BINARY, SOCKET, TOKEN, OUTPUT, FILES, SUMMARY_LIMIT, reportDirectory, needed, input, truth, failOn, root, agent, tell, say,
  put, main,
};
