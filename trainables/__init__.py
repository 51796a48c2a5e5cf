"""What a trial trains: torch and torchvision, never ray, optuna or pydantic."""

from trainables.task import Task
from trainables.tasks import cifar10, shanghaitech

# A third task is one more file that ends in TASK, and one more line here.
TASKS: dict[str, Task] = {
    "cifar10": cifar10.TASK,
    "shanghaitech": shanghaitech.TASK,
}
