from tests.flow.conftest import world as world
from tests.support.fixtures import make as make
from tests.support.fixtures import templates as templates
