"""The page of tool.demo in a browser, as a user sees it."""

from pathlib import Path


class Page:
    """The page as a user sees it."""

    def __init__(self, browser, address):
        self.browser = browser
        self.emulate(width=1280, height=800)
        browser.get_log("browser")  # whatever stood there before is not this page's
        browser.get(address)
        self.wait(lambda: self.text("engine"))

    def __call__(self, element):
        return self.browser.find_element("id", element)

    def text(self, element):
        return self(element).text

    def wait(self, condition):
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, 20).until(lambda _: condition())

    def choose(self, file: Path):
        self("file").send_keys(str(file))
        self.wait(lambda: not self("busy").is_displayed() and (self("times").is_displayed() or self.text("message")))

    def select(self, element, text):
        from selenium.webdriver.support.ui import Select

        Select(self(element)).select_by_visible_text(text)

    def pixel(self, x, y, canvas="overlay"):
        """RGBA of the overlay or another canvas, in pixels of the class map."""
        read = "return [...document.getElementById('{}').getContext('2d').getImageData({}, {}, 1, 1).data]"
        return self.browser.execute_script(read.format(canvas, x, y))

    def emulate(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def style(self, element, name):
        return self.browser.execute_script(f"return getComputedStyle({element}).{name}")
