// The step of finish/action.yml.
'use strict';
const martlet = require('./martlet.js');
const { end, hasBegun } = require('./end.js');

martlet.main(() => {
  if (!hasBegun()) throw new Error('there is no agent that an earlier step has started');
  end();
});
