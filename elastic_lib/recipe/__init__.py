"""What a run is: settings and their rules, the recipe made of them, the plan of its resets, the grid of a task."""

from elastic_lib.recipe.recipe import Recipe as Recipe
from elastic_lib.recipe.recipe import parse_setting as parse_setting
from elastic_lib.recipe.recipe import parse_settings as parse_settings
from elastic_lib.recipe.reset_plan import ResetPlan as ResetPlan
